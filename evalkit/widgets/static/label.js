const LABELS = [["right", "R"], ["wrong", "W"], ["unsure", "U"]];
const PARTS = [["conversation", "Before the question"], ["question", "Question"], ["target", "Right answer"], ["answer", "Answer to label"]];

function render({ model, el }) {
  const status = make("span", { role: "status" }), bar = make("progress", { "aria-label": "answers labelled", max: 1 });
  const texts = Object.fromEntries(PARTS.map(([name, title]) => [name, textBox(name, title)]));
  const note = make("textarea", { rows: 1, placeholder: "optional", "aria-keyshortcuts": "N" });
  const buttons = LABELS.map(([name, key]) => button(`${name[0].toUpperCase()}${name.slice(1)}`, key, () => send(name)));
  const undo = button("Undo", "Z", () => send("undo")), problem = make("p", { className: "ek-wrong", role: "alert" });
  const ended = make("p", { text: "Every answer of the sample is labelled." });
  const work = make("div", {}, ...PARTS.map(([name]) => texts[name].box), make("label", { text: "Note (N; Enter goes back to the keys)" }, note));
  // JupyterLab's own keys, such as Z in command mode, are off inside
  const section = make("section", { className: "evalkit ek-label", "aria-label": "Label answers", tabindex: 0, "data-lm-suppress-shortcuts": "true" },
    make("header", {}, make("h3", { text: "Label answers" }), status), bar, work, ended, problem,
    make("div", { className: "ek-buttons" }, ...buttons, undo, make("span", { text: "Click here or press Tab, then use the keys." })));
  el.append(section);
  let sent = null;

  function show() {
    const { labelled, total, counts, answer, problem: why } = model.get("shown");
    for (const [name] of PARTS) {
      const text = model.get("shown")[name] ?? null;
      texts[name].box.hidden = text === null;
      setReadable(texts[name].text, text || "(empty)");
      texts[name].text.scrollTop = name === "conversation" ? texts[name].text.scrollHeight : 0;
    }
    work.hidden = answer === null;
    ended.hidden = answer !== null;
    bar.max = total;
    bar.value = labelled;
    setText(problem, why);
    problem.hidden = !why;
    const state = answer === null ? "Done" : `Answer ${labelled + 1} of ${total}`;
    setText(status, `${state} · ${LABELS.map(([name]) => `${counts[name]} ${name}`).join(", ")}`);
    for (const one of buttons) one.disabled = Boolean(sent) || answer === null;
    undo.disabled = Boolean(sent) || !labelled;
  }

  function send(what) {
    const one = what === "undo" ? undo : buttons[LABELS.findIndex(([name]) => name === what)];
    if (one.disabled) return;
    sent = { do: what, labelled: model.get("shown").labelled, note: note.value };
    const waiting = sent;
    try { model.send(sent); } catch { /* said below */ }
    if (document.activeElement?.tagName === "BUTTON") section.focus({ preventScroll: true }); // a disabled button loses it
    for (const each of [...buttons, undo]) each.disabled = true;
    setTimeout(() => {
      if (sent === waiting) setText(status, "Not saved yet: a running cell keeps the kernel busy, or the kernel has ended. Then run this cell again.");
    }, 2000);
  }

  function replied() {
    sent = null;
    if (!model.get("shown").problem) note.value = model.get("shown").note;
    show();
  }

  section.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.target === note) {
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey && !event.isComposing)) {
        event.preventDefault();
        section.focus();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const key = event.key.toUpperCase(), label = LABELS.find(([, letter]) => letter === key);
    if (label) send(label[0]);
    else if (key === "Z") send("undo");
    else if (key === "N") note.focus();
    else return;
    event.preventDefault();
  });
  model.on("change:shown", replied);
  show();
  return () => model.off("change:shown", replied);
}

function textBox(name, title) {
  const text = make("div", { className: name === "answer" ? "ek-words ek-answer readable" : "ek-words readable", dir: "auto", tabindex: 0, role: "group", "aria-label": title });
  return { text, box: make("div", {}, make("span", { text: title, className: "ek-who" }), text) };
}

function button(text, key, pressed) {
  const made = make("button", { type: "button", text: `${text} (${key})`, "aria-keyshortcuts": key });
  made.addEventListener("click", pressed);
  return made;
}

export default { render };
