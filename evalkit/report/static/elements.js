// Elements of a page, in reports and in widgets. Texts of models, datasets and endpoints are text, never markup.
"use strict";

function make(tag, { text, className, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  return filled(element, text, className, attributes, children);
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

function time(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 100 ? ms.toFixed(1) : Math.round(ms).toLocaleString("en")} ms`;
}

// A folded text to be copied; it is made when it is first needed: to be read or to be copied.
function copyable(name, text) {
  const code = make("pre", { tabindex: 0, "aria-label": name }), copy = make("button", { text: `Copy ${name}`, type: "button" });
  const summary = make("summary", { text: name });
  const fill = () => { if (!code.textContent) code.textContent = visible(text()); };
  copy.addEventListener("click", async () => {
    fill();
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected: copy it";
    }
  });
  summary.addEventListener("click", fill);
  const details = make("details", {}, summary, code, copy);
  details.addEventListener("toggle", fill);  // opened without a click: by a script, or by the browser's search
  return details;
}
