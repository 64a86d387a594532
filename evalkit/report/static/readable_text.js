// Answers as people read them: code and mathematics are set apart, and parts of the text may be marked. Each character
// of the text stays, as text. Reports and widgets put this file after elements.js, in elements of the class readable.

const MOST_TEXT = 200000; // a longer text is shown without code and mathematics
const FENCE = /^ {0,3}(`{3,}|~{3,})[^`\n]*$/m;
const INLINE = new RegExp([
  "(?<code>(?<!`)(?<ticks>`{1,4})(?!`)[^\\n]{0,500}?[^`\\n]\\k<ticks>(?!`))",
  "(?<math>\\$\\$[^$]{1,2000}\\$\\$|\\\\\\[[\\s\\S]{1,2000}?\\\\\\]|\\\\\\([^\\n]{1,500}?\\\\\\)|\\\\boxed\\{[^{}\\n]{0,200}(?:\\{[^{}\\n]{0,200}\\}[^{}\\n]{0,200}){0,9}\\}",
  // a sum of money has a digit after its sign, and blanks before the next one
  "(?<![\\\\$\\w])\\$(?![\\s$])[^$\\n]{0,300}?[^\\s$\\\\]\\$(?![\\w$]))",
].join("|"), "g");

// Returns nodes with the text. Marks are [start, end, class, title], in order and without overlap.
function readable(text, marks = []) {
  const nodes = [];
  let at = 0;
  const put = (end, piece) => { if (at < end) nodes.push(...piece(text, at, end, marks)); at = end; };
  for (const [start, end] of text.length > MOST_TEXT ? [] : fences(text)) {
    put(start, inline);
    put(end, (...part) => [make("code", { className: "block", dir: "ltr", tabindex: 0, role: "group", "aria-label": "code" }, ...marked(...part))]);
  }
  put(text.length, text.length > MOST_TEXT ? marked : inline);
  return nodes;
}

function setReadable(element, text) {
  if (element.textContent !== visible(text)) element.replaceChildren(...readable(text)); // unchanged text keeps the user's selection
}

// Where a text has blocks of code, their fences included; one that is not closed goes on to the end.
function fences(text) {
  const found = [];
  for (let from = 0; from < text.length;) {
    const opened = FENCE.exec(text.slice(from));
    if (!opened) break;
    const start = from + opened.index, inside = start + opened[0].length;
    const closed = new RegExp(`\\n {0,3}\\${opened[1][0]}{${opened[1].length},}[ \\t]*(?:\\n|$)`).exec(text.slice(inside));
    from = closed ? inside + closed.index + closed[0].length : text.length;
    found.push([start, from]);
  }
  return found;
}

function inline(text, start, end, marks) {
  const nodes = [];
  let at = start;
  for (const match of text.slice(start, end).matchAll(INLINE)) {
    const from = start + match.index, to = from + match[0].length;
    nodes.push(...marked(text, at, from, marks));
    nodes.push(make(match.groups.code ? "code" : "span", { className: match.groups.code ? "" : "math", dir: "ltr" }, ...marked(text, from, to, marks)));
    at = to;
  }
  return [...nodes, ...marked(text, at, end, marks)];
}

function marked(text, start, end, marks) {
  const nodes = [];
  for (const [first, last, className, title] of marks) {
    const from = Math.max(start, first), to = Math.min(end, last);
    if (from >= to) continue;
    if (start < from) nodes.push(visible(text.slice(start, from)));
    nodes.push(make("mark", { text: text.slice(from, to), className, title }));
    start = to;
  }
  if (start < end) nodes.push(visible(text.slice(start, end)));
  return nodes;
}
