// Shared by all widgets. Texts of models, datasets and endpoints enter the page as text, never as markup.

function make(tag, { text, className, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  return filled(element, text, className, attributes, children);
}

function draw(tag, { text, className, ...attributes } = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), text, className, attributes, children);
}

function filled(element, text, className, attributes, children) {
  if (text !== undefined) element.textContent = visible(text);
  if (className) element.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Makes control characters visible.
function visible(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f]/g, "\u2421");
}

function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown; // unchanged text keeps the user's selection
}

function time(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

// Returns a round number at or above a value, as the end of an axis.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value) * power;
}

function wait(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

// Tells Python to stop, also while a cell keeps the kernel busy: see evalkit/widgets/button_comm.py. In an older
// JupyterLab or kernel, where that is not possible, the kernel is interrupted, as by JupyterLab's own stop button.
async function press(model, stillGoing) {
  model.send({ do: "stop" });
  const kernel = model.widget_manager?.kernel;
  if (!kernel?.createComm) return;
  const comm = kernel.createComm("evalkit.press");
  try {
    await Promise.race([comm.subshellStarted, wait(500)]);
    comm.open({ button_id: model.get("button_id") });
    await wait(2500);
    if (stillGoing()) await kernel.interrupt();
  } finally {
    if (!comm.isDisposed) comm.close(); // on Python's side too
  }
}
