
// The theme of JupyterLab or of VS Code; undefined elsewhere, where the page has that of the system.
function hostTheme() {
  const { classList, dataset } = document.body;
  if (dataset.jpThemeLight) return dataset.jpThemeLight === "false" ? "dark" : "light";
  if (classList.contains("vscode-light") || classList.contains("vscode-high-contrast-light")) return "light";
  return classList.contains("vscode-dark") || classList.contains("vscode-high-contrast") ? "dark" : undefined;
}

// The page may run only its own script. It has no origin, so it can reach neither Jupyter's page nor its server.
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = model.get("label");
  const theme = hostTheme();
  frame.srcdoc = model.get("page").replace("<html", theme ? `<html data-theme="${theme}"` : "<html");
  const box = make("section", { className: "evalkit ek-browse", "aria-label": model.get("label") });
  box.append(frame);
  el.append(box);
}

export default { render };
