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
  return ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

