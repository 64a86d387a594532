// Shared by all widgets, after elements.js and readable_text.js of reports.

function draw(tag, { text, className, ...attributes } = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), text, className, attributes, children);
}

function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown; // unchanged text keeps the user's selection
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
