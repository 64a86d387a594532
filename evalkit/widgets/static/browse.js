
// The page may run only its own script. It has no origin, so it can reach neither Jupyter's page nor its server.
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = model.get("label");
  const light = document.body.dataset.jpThemeLight;
  const theme = light ? ` data-theme="${light === "false" ? "dark" : "light"}"` : "";
  frame.srcdoc = model.get("page").replace("<html", `<html${theme}`);
  const box = make("section", { className: "evalkit ek-browse", "aria-label": model.get("label") });
  box.append(frame);
  el.append(box);
}

export default { render };
