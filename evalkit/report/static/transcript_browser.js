// The transcript browser of a report. Its data are text and enter the page as text, never as markup.
const ROW = 34; // px, as in report.css
const STATUS = { r: ["✓", "right"], p: ["◐", "partly right"], w: ["✗", "wrong"], e: ["!", "failed"], u: ["–", "not scored"] };
const page = {};
for (const element of document.querySelectorAll("[id]")) page[element.id] = element;

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return inColumns(JSON.parse(await new Response(stream).text()));
}

// The page has its data by conversation, which makes them small; they are read by column.
function inColumns(packed) {
  const conversations = Object.fromEntries(["id", "tags", "system", "context", "pictures"].map((name) => [name, packed.map((each) => each[name])]));
  const names = packed.length ? packed[0].columns : ["conversation", "turn"];
  const turns = Object.fromEntries(names.map((name, n) => [name, packed.flatMap((each) => each.turns[n])]));
  return { conversations, turns, commands: packed.flatMap((each) => each.commands) };
}

const runs = [...document.querySelectorAll("script[type='application/gzip']")].map((element) => ({ element, data: null }));

async function load(number) {
  const run = runs[number];
  if (!run.data) {
    run.data = await unpack(run.element);
    run.data.places = new Map();
    const { turns, conversations } = run.data;
    for (let i = 0; i < turns.conversation.length; i++) {
      run.data.places.set(key(conversations.id[turns.conversation[i]], turns.repeat[i], turns.turn[i]), i);
    }
    run.element.remove();
  }
  return run.data;
}

function key(id, repeat, turn) {
  return JSON.stringify([id, repeat, turn]);
}

// -- filters and order

const state = { run: 0, data: null, shown: [], current: 0, sort: "order", descending: false };

function selectedStatuses() {
  return new Set([...page.statuses.querySelectorAll("input:checked")].map((box) => box.value));
}

function searchText(data, i) {
  data.searchTexts ??= [];
  return (data.searchTexts[i] ??= [data.conversations.id[data.turns.conversation[i]], data.turns.user[i], outputText(data.turns, i),
    data.turns.error[i], data.turns.reason[i]].filter(Boolean).join("\n").toLowerCase());
}

async function filter() {
  const { data } = state, { turns, conversations } = data;
  const statuses = selectedStatuses(), text = page.search.value.trim().toLowerCase();
  const tag = page.tag.value, turn = Number(page.turn.value), flipped = page.flipped?.checked;
  const other = flipped ? await load(state.run === 0 ? 1 : 0) : null;
  const shown = [];
  for (let i = 0; i < turns.conversation.length; i++) {
    if (statuses.size && !statuses.has(turns.status[i])) continue;
    if (turn && turns.turn[i] !== turn) continue;
    if (tag && !conversations.tags[turns.conversation[i]].includes(tag)) continue;
    if (other && !hasFlipped(data, other, i)) continue;
    if (text && !searchText(data, i).includes(text)) continue;
    shown.push(i);
  }
  state.shown = sorted(shown);
  state.current = 0;
  page.grid.scrollTop = 0;
  const all = turns.conversation.length;
  page.count.textContent = `${shown.length.toLocaleString("en")} of ${all.toLocaleString("en")} turns`;
  page.nothing.hidden = shown.length > 0;
  page.grid.setAttribute("aria-rowcount", shown.length + 1);
  draw();
}

function hasFlipped(data, other, i) {
  const { turns, conversations } = data;
  const there = other.places.get(key(conversations.id[turns.conversation[i]], turns.repeat[i], turns.turn[i]));
  return there !== undefined && turns.score[i] !== null && other.turns.score[there] !== null &&
    turns.score[i] !== other.turns.score[there];
}

function sorted(shown) {
  if (state.sort === "order") return state.descending ? shown.reverse() : shown;
  const values = state.data.turns[state.sort], sign = state.descending ? -1 : 1;
  const missing = (i) => values[i] === null || values[i] === undefined; // last in both directions
  return shown.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * (values[a] - values[b])) || a - b);
}

function sortBy(name) {
  state.descending = state.sort === name ? !state.descending : name !== "order";
  state.sort = name;
  for (const head of page.grid.querySelectorAll("[role=columnheader]")) {
    const own = head.querySelector("button")?.dataset.sort === name;
    head.setAttribute("aria-sort", own ? (state.descending ? "descending" : "ascending") : "none");
  }
  filter();
}

// -- the list; only its visible rows are in the page

function draw() {
  const total = state.shown.length, box = page.grid;
  const from = Math.max(0, Math.floor(box.scrollTop / ROW) - 5);
  const to = Math.min(total, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 5);
  page.space.style.height = `${total * ROW}px`;
  page.space.replaceChildren(...Array.from({ length: to - from }, (_, n) => row(from + n)));
  if (from <= state.current && state.current < to) box.setAttribute("aria-activedescendant", `row-${state.current}`);
  else box.removeAttribute("aria-activedescendant");
}

function row(place) {
  const { turns, conversations } = state.data, i = state.shown[place];
  const cells = [
    conversations.id[turns.conversation[i]] + (turns.repeat[i] > 1 ? ` · repeat ${turns.repeat[i]}` : ""),
    turns.turn[i], verdict(turns, i), time(turns.latency[i]), time(turns.ttft[i]), brief(turns.user[i]),
    brief(turns.error[i] || outputText(turns, i)),
  ];
  const line = make("div", { className: `row s-${turns.status[i]}`, role: "row", id: `row-${place}`, "aria-rowindex": place + 2,
    "aria-selected": place === state.current });
  line.style.transform = `translateY(${place * ROW}px)`;
  line.append(...cells.map((text) => make("span", { text, role: "gridcell", dir: "auto" })));
  line.addEventListener("click", () => { state.current = place; draw(); open(i); });
  return line;
}

// Whether the reasoning of a turn is all that the model returned.
function isAlone(turns, i) {
  return !turns.answer[i] && turns.refusal[i] === null && !(turns.calls[i] || []).length;
}

function outputText(turns, i) {
  const reasoning = turns.reasoning[i] === null || !isAlone(turns, i) ? "" : `(only reasoning) ${turns.reasoning[i]}`;
  return [turns.answer[i], turns.refusal[i] === null ? "" : `(refusal) ${turns.refusal[i]}`, reasoning].filter(Boolean).join(" ");
}

function brief(text) {
  return text.length > 160 ? text.slice(0, 160) + "…" : text;
}

// Only exactly 0 and 1 are shown as 0 and 1.
function partialScore(score) {
  const digits = [2, 3, 4, 5].find((digits) => ![0, 1].includes(Number(score.toFixed(digits))));
  return digits ? score.toFixed(digits) : String(score);
}

function verdict(turns, i) {
  const [sign, word] = STATUS[turns.status[i]];
  return turns.status[i] === "p" ? `${sign} ${partialScore(turns.score[i])}` : `${sign} ${word}`;
}

function move(place) {
  const box = page.grid, head = page.head.offsetHeight, top = head + ROW * Math.min(Math.max(place, 0), state.shown.length - 1);
  state.current = (top - head) / ROW;
  if (top < box.scrollTop + head) box.scrollTop = top - head;
  if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  draw();
}

// -- one conversation

async function open(i) {
  const { data } = state, place = data.turns.conversation[i];
  await openConversation(data.conversations.id[place], data.turns.repeat[i], data.turns.turn[i]);
}

async function openConversation(id, repeat, turn) {
  const all = await Promise.all(runs.map((_, number) => load(number)));
  page.title.textContent = visible(repeat > 1 ? `${id}, repeat ${repeat}` : id);
  const places = all.map((data) => turnsOf(data, data.conversations.id.indexOf(id), repeat));
  const differences = firstDifferences(all, places);
  page.dialogues.replaceChildren(...all.map((data, number) => dialogue(data, number, places[number], differences[number])));
  alignTurns();
  showDifference(differences);
  if (!page.conversation.open) page.conversation.showModal();
  setAddress(`#run=${state.run}&conversation=${encodeURIComponent(id)}&repeat=${repeat}`);
  const article = page.dialogues.querySelector(`[data-turn="${Number(turn)}"]`);
  if (article && turn > 1) article.scrollIntoView();
}

// Sets the address, so that a link opens the conversation. A page in a frame has no address.
function setAddress(place) {
  if (location.protocol !== "about:") history.replaceState(null, "", place);
}

function dialogue(data, number, own, differences) {
  const name = runs[number].element.dataset.name, column = make("section", { className: "dialogue", "aria-label": name });
  const opening = make("div", { className: "opening" });
  column.append(opening);
  if (runs.length > 1) opening.append(make("h3", { text: name }));
  if (!own.length) {
    opening.append(make("p", { text: "This run, or its sample, does not have the conversation.", className: "faint" }));
    return column;
  }
  const place = data.turns.conversation[own[0]], pictures = data.conversations.pictures[place];
  const system = data.conversations.system[place];
  if (system) opening.append(message("system", [system]));
  for (const { role, text, parts, calls } of data.conversations.context[place] || []) {
    if (text || !calls) opening.append(message(role, [text], role, parts, pictures));
    opening.append(...(calls || []).map(callOf));
  }
  for (const i of own) column.append(turnOf(data, i, pictures, differences.get(data.turns.turn[i])));
  return column;
}

function turnsOf(data, place, repeat) {
  const { turns } = data, own = [];
  for (let i = 0; i < turns.conversation.length; i++) {
    if (turns.conversation[i] === place && turns.repeat[i] === repeat) own.push(i);
  }
  return own;
}

// Turns with the same number are side by side, in one row of the grid.
function alignTurns() {
  const numbers = [...new Set([...page.dialogues.querySelectorAll("article")].map((article) => Number(article.dataset.turn)))].sort((a, b) => a - b);
  for (const column of page.dialogues.children) {
    column.style.gridRow = `1 / span ${numbers.length + 1}`;
    for (const article of column.querySelectorAll("article")) article.style.gridRow = String(numbers.indexOf(Number(article.dataset.turn)) + 2);
  }
}

// For each run, by turn: the word of its answer that is the first to differ from that of the first run.
function firstDifferences(all, places) {
  const marks = all.map(() => new Map());
  const answers = all.map((data, number) => new Map(places[number].map((i) => [data.turns.turn[i], data.turns.answer[i] || ""])));
  for (let number = 1; number < all.length; number++) {
    for (const [turn, text] of answers[number]) {
      const first = answers[0].get(turn);
      if (first === undefined || first === text) continue;
      const at = startOfDifference(first, text), own = marks[0].get(turn);
      marks[number].set(turn, wordFrom(text, at));
      if (!own || at < own[0]) marks[0].set(turn, wordFrom(first, at));
    }
  }
  return marks;
}

function startOfDifference(first, second) {
  let at = 0;
  while (at < first.length && first[at] === second[at]) at++;
  if ([first, second].every((text) => at === text.length || /\s/.test(text[at]))) return at; // between words
  while (at > 0 && /\S/.test(first[at - 1])) at--;
  return at;
}

function wordFrom(text, at) {
  const [blanks, word] = /^(\s*)(\S*)/.exec(text.slice(at, at + 1000)).slice(1);
  return [at + blanks.length, at + blanks.length + word.length];
}

function showDifference(differences) {
  const turns = differences.slice(1).flatMap((found) => [...found.keys()]), first = Math.min(...turns);
  page.difference.hidden = runs.length < 2 || !turns.length;
  page.difference.textContent = `first difference: turn ${first}`;
  page.difference.onclick = () => page.dialogues.querySelector(`[data-turn="${first}"]`)?.scrollIntoView();
}

function message(who, text, kind = who, parts = null, pictures = []) {
  const said = parts ? parts.flatMap((part) => partOf(part, pictures)) : [words(...text)];
  return make("div", { className: `message ${kind}` }, make("span", { text: who, className: "who" }), ...said);
}

function words(text, marks = []) {
  return make("div", { className: "words readable", dir: "auto" }, ...readable(text, marks));
}

function partOf({ text, picture }, pictures) {
  const shown = picture === null ? [] : [make("img", { src: pictures[picture], alt: text, className: "part" })];
  return [words(text), ...shown];
}

function callOf({ name, arguments: given, result }) {
  const short = given.length + (result || "").length < 2000;
  const details = make("details", { className: "message call", ...(short ? { open: "" } : {}) },
    make("summary", { className: "readable" }, make("span", { text: "call ", className: "who" }), make("code", { text: name })), make("pre", { text: given, tabindex: 0, "aria-label": "arguments" }));
  if (result !== null) details.append(make("span", { text: "result", className: "who" }), make("pre", { text: result, tabindex: 0, "aria-label": "result" }));
  return details;
}

function turnOf(data, i, pictures, difference) {
  const { turns } = data, alone = isAlone(turns, i);
  const article = make("article", { className: `turn s-${turns.status[i]}`, "data-turn": turns.turn[i] },
    make("h4", { text: `Turn ${turns.turn[i]}` }), message("user", [turns.user[i]], "user", turns.parts[i], pictures));
  if (turns.reasoning[i] !== null && !alone) {
    const size = `reasoning, ${turns.reasoning[i].length.toLocaleString("en")} characters`;
    article.append(make("details", {}, make("summary", { text: size }), message("reasoning", [turns.reasoning[i]])));
  }
  article.append(...(turns.calls[i] || []).map(callOf));
  if (turns.answer[i] !== null && (turns.answer[i] || !turns.calls[i])) article.append(message("assistant", [turns.answer[i], marksOf(turns, i, difference)]));
  if (turns.refusal[i] !== null) article.append(message("refusal", [turns.refusal[i]]));
  if (turns.reasoning[i] !== null && alone) article.append(message("only reasoning", [turns.reasoning[i]], "reasoning"));
  if (turns.cut[i]) article.append(make("p", { text: `${turns.cut[i].toLocaleString("en")} more characters are in the run file.`, className: "faint" }));
  if (turns.golden[i] !== null) article.append(message("golden answer, which later turns saw", [turns.golden[i]], "golden"));
  const facts = [["verdict", verdict(turns, i)], ["target", turns.target[i]], ["extracted", turns.extracted[i]],
    ["why", turns.reason[i]], ["scorer", turns.scorer[i]], ["error", turns.error[i]], ["latency", time(turns.latency[i])],
    ["first token", time(turns.ttft[i])], ["time per token", time(turns.tpot[i])],
    ["tokens", tokens(turns.prompt_tokens[i], turns.output_tokens[i])],
    ["attempts", turns.attempts[i] > 1 ? turns.attempts[i] : null]];
  const list = make("dl");
  for (const [name, value] of facts) {
    if (value === null || value === undefined || value === "–") continue;
    const text = typeof value === "string" ? value : JSON.stringify(value);
    list.append(make("div", {}, make("dt", { text: name }), make("dd", { text, dir: "auto" })));
  }
  article.append(list);
  if (turns.command[i] !== null) article.append(copyable("cURL", () => commandOf(data, i)));
  return article;
}

// What the scorer extracted, the wrong part of a number, and the first word that differs from the other run.
function marksOf(turns, i, difference) {
  const marks = difference ? [[...difference, "difference", "the first difference between the runs"]] : [];
  if (turns.mark[i]) {
    const [start, wrong, right, end] = turns.mark[i];
    marks.push([start, end, "extracted", "what the scorer read as the answer"], [wrong, right, "differs", "this part differs from the target"]);
  }
  const edges = [...new Set(marks.flatMap(([start, end]) => [start, end]))].sort((a, b) => a - b);
  return edges.slice(1).map((end, n) => {
    const within = marks.filter((mark) => mark[0] <= edges[n] && end <= mark[1]);
    return [edges[n], end, within.map((mark) => mark[2]).join(" "), within.map((mark) => mark[3]).join("; ")];
  }).filter(([, , className]) => className);
}

// Python has made the parts of the command: the requests of a conversation share all but messages.
function commandOf({ turns, commands, conversations }, i) {
  if (typeof turns.command[i] === "string") return turns.command[i];
  const [number, messages, notes] = turns.command[i], command = commands[number];
  const pictures = conversations.pictures[turns.conversation[i]];
  const sent = command.messages.slice(0, messages).map((pieces) => pieces.map((piece) => typeof piece === "number" ? pictures[piece] : piece).join(""));
  return command.notes.slice(0, notes).join("") + command.head + sent.join(command.separator) + command.tail;
}

function tokens(prompt, output) {
  return prompt === null && output === null ? null : `${prompt ?? "?"} in, ${output ?? "?"} out`;
}

// -- controls and keys

async function choose(number) {
  page.run.disabled = true;
  state.data = await load(number);
  state.run = number;
  page.run.disabled = false;
  fill(page.tag, "all tags", [...new Set(state.data.conversations.tags.flat())].sort());
  fill(page.turn, "all turns", [...new Set(state.data.turns.turn)].sort((a, b) => a - b));
  await filter();
}

function fill(select, everything, values) {
  const before = select.value;
  select.replaceChildren(make("option", { text: everything, value: "" }),
    ...values.map((value) => make("option", { text: value, value })));
  select.value = values.map(String).includes(before) ? before : "";
}

const KEYS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };

page.grid.addEventListener("keydown", (event) => {
  if (event.target !== page.grid) return; // a button in a heading
  if (event.key in KEYS && state.shown.length) {
    event.preventDefault();
    move(state.current + KEYS[event.key]);
  } else if (event.key === "Enter" && state.shown.length) {
    event.preventDefault();
    open(state.shown[state.current]);
  }
});
page.grid.addEventListener("scroll", () => requestAnimationFrame(draw));
new ResizeObserver(() => requestAnimationFrame(draw)).observe(page.grid); // a frame may get its height later
let typing = 0;
page.search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 150); });
for (const control of [page.tag, page.turn, page.statuses, page.flipped]) control?.addEventListener("change", filter);
page.run.addEventListener("change", () => choose(Number(page.run.value)));
page.close.addEventListener("click", () => page.conversation.close());
page.conversation.addEventListener("close", () => { setAddress("#"); page.grid.focus(); });
for (const button of page.grid.querySelectorAll("button[data-sort]")) button.addEventListener("click", () => sortBy(button.dataset.sort));

(async () => {
  const place = new URLSearchParams(location.hash.slice(1));
  const number = Number(place.get("run")) || 0;
  page.run.value = number in runs ? number : 0;
  await choose(Number(page.run.value));
  page.browser.removeAttribute("aria-busy");
  if (place.get("conversation") !== null) {
    await openConversation(place.get("conversation"), Number(place.get("repeat")) || 1, 1);
  }
})();
