// One conversation of one run, or of several side by side, in a dialog: in reports and in "evalkit view". Texts of models,
// datasets and endpoints enter the page as text, never as markup.
const STATUS = { r: ["✓", "right"], p: ["◐", "partly right"], w: ["✗", "wrong"], e: ["!", "failed"], u: ["–", "not scored"] };
const page = {};
for (const element of document.querySelectorAll("[id]")) page[element.id] = element;

// Shows the conversation in these runs: for each the columns of turns and conversations, and the name of the run.
function showConversation(all, id, repeat, turn) {
  page.title.textContent = visible(repeat > 1 ? `${id}, repeat ${repeat}` : id);
  const places = all.map((data) => turnsOf(data, data.conversations.id.indexOf(id), repeat));
  const differences = firstDifferences(all, places);
  page.dialogues.replaceChildren(...all.map((data, number) => dialogue(data, places[number], differences[number], all.length > 1)));
  alignTurns();
  showDifference(differences);
  if (!page.conversation.open) page.conversation.showModal();
  const article = page.dialogues.querySelector(`[data-turn="${Number(turn)}"]`);
  if (article && turn > 1) article.scrollIntoView();
}

// Sets the address, so that a link opens the conversation. A page in a frame has no address.
function setAddress(place) {
  if (location.protocol !== "about:") history.replaceState(null, "", place);
}

page.close.addEventListener("click", () => page.conversation.close());

// Whether the reasoning of a turn is all that the model returned.
function isAlone(turns, i) {
  return !turns.answer[i] && turns.refusal[i] === null && !(turns.calls[i] || []).length;
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

function dialogue(data, own, differences, several) {
  const { name } = data, column = make("section", { className: "dialogue", "aria-label": name });
  const opening = make("div", { className: "opening" });
  column.append(opening);
  if (several) opening.append(make("h3", { text: name }));
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
  page.difference.hidden = !turns.length;
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
  if (turns.command[i] !== null) article.append(...[["cURL", "curl"], ["Python", "python"]].map(([name, key]) => copyable(name, () => codeOf(data, i, key))));
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

// Python has made the parts of the code: the requests of a conversation share all but messages.
function codeOf({ turns, commands, conversations }, i, key) {
  if (typeof turns.command[i] === "string") return turns.command[i];
  const [number, messages, notes] = turns.command[i], code = commands[number][key];
  const pictures = conversations.pictures[turns.conversation[i]];
  const sent = code.messages.slice(0, messages).map((pieces) => pieces.map((piece) => typeof piece === "number" ? pictures[piece] : piece).join(""));
  return commands[number].notes.slice(0, notes).join("") + code.head + sent.join(code.separator) + code.tail;
}

function tokens(prompt, output) {
  return prompt === null && output === null ? null : `${prompt ?? "?"} in, ${output ?? "?"} out`;
}
