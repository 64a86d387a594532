// The page of "evalkit view". The server has the runs: their lines and turns are fetched in pieces, conversations one by
// one. The list and the dialog are those of a report: turn_grid.js and conversation.js.
const PIECE = 100, LINES = 20;
const folder = { files: [], lines: new Map(), rows: new Map(), listed: null, beside: [] };
const fetched = { pieces: new Map(), version: 0 }; // pieces of the turns that are selected; the number of the selection

async function ask(what, values = []) {
  let answer;
  try {
    answer = await fetch(`${what}?${new URLSearchParams(values)}`);
  } catch {
    throw new Error("This page is no longer served: start 'evalkit view' again, and open the address that it prints.");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// Shows why something failed, in place of an exception.
async function attempt(work) {
  page.failure.hidden = true;
  try {
    return await work();
  } catch (error) {
    page.failure.textContent = visible(error.message);
    page.failure.hidden = false;
  }
}

// -- the runs

// Lists the run files and returns the newest that can be read.
async function listFiles() {
  const found = await ask("files");
  page.foldername.textContent = visible(`Runs in ${found.folder}`);
  folder.files = found.files;
  for (const name of found.files) folder.rows.set(name, runRow(name));
  page.runrows.replaceChildren(...folder.rows.values());
  page.folder.removeAttribute("aria-busy");
  countRuns();
  return found.newest;
}

async function listLines() {
  for (let from = 0; from < folder.files.length; from += LINES) {
    const names = folder.files.slice(from, from + LINES);
    for (const line of await ask("lines", names.map((name) => ["run", name]))) {
      folder.lines.set(line.name, line);
      fillRow(line);
    }
    fill(page.dataset, "all datasets", [...new Set([...folder.lines.values()].map((line) => line.dataset).filter(Boolean))].sort());
    filterRuns();
  }
}

function shortName(name) {
  return name.replace(/\.evalkit$/, "");
}

function runRow(name) {
  const box = make("input", { type: "checkbox", "aria-label": `${name} side by side` });
  box.addEventListener("change", () => attempt(() => placeBeside(name, box.checked)));
  const button = make("button", { text: shortName(name), type: "button" });
  button.addEventListener("click", () => attempt(() => listTurns(name)));
  return make("tr", {}, make("td", {}, box), make("th", { scope: "row" }, button), make("td", { colspan: 8, text: "…", className: "words-cell" }));
}

function fillRow(line) {
  const row = folder.rows.get(line.name), cells = [...row.children].slice(0, 2);
  if (line.error) {
    cells[0].firstChild.disabled = cells[1].firstChild.disabled = true;
    row.replaceChildren(...cells, make("td", { colspan: 8, text: line.error, className: "words-cell unreadable" }));
    return;
  }
  const started = new Date(line.started), date = `${started.toLocaleDateString("sv")} ${started.toLocaleTimeString("sv").slice(0, 5)}`;
  const texts = [line.shown_accuracy, line.accuracy.n.toLocaleString("en"), time(line.latency_ms.p50), time(line.ttft_ms.p50),
    line.dataset || "–", line.model || "–", date, line.shown_outcome];
  row.replaceChildren(...cells, ...texts.map((text, n) => make("td", { text, dir: "auto", ...([4, 5, 7].includes(n) ? { className: "words-cell" } : {}) })));
}

function filterRuns() {
  const text = page.runsearch.value.trim().toLowerCase(), dataset = page.dataset.value;
  for (const [name, row] of folder.rows) {
    const line = folder.lines.get(name);
    const searched = [name, line?.dataset, line?.model].join("\n").toLowerCase();
    row.hidden = !searched.includes(text) || (dataset !== "" && line?.dataset !== dataset);
  }
  countRuns();
}

function countRuns() {
  const all = folder.rows.size, shown = [...folder.rows.values()].filter((row) => !row.hidden).length;
  const hint = all ? "; click a run to list its turns, tick runs to see their conversations side by side" : ": 'evalkit run DATA' creates one";
  page.runcount.textContent = `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} run files${hint}`;
}

async function placeBeside(name, chosen) {
  folder.beside = folder.beside.filter((other) => other !== name);
  if (chosen) folder.beside.push(name);
  await selectTurns();
}

// -- the turns of a run

// Shows the first turns before their tags and indices are known: of a million turns those take longer.
async function listTurns(name) {
  folder.listed = name;
  for (const [other, row] of folder.rows) row.toggleAttribute("aria-current", other === name);
  page.turns.hidden = false;
  page.listed.textContent = visible(`Turns of ${shortName(name)}`);
  await selectTurns();
  const labels = await ask("labels", [["run", name]]);
  if (folder.listed !== name) return;
  const selected = [page.tag.value, page.turn.value];
  fill(page.tag, "all tags", labels.tags);
  fill(page.turn, "all turns", labels.turns);
  if (String(selected) !== String([page.tag.value, page.turn.value])) await selectTurns(); // this run lacks what was selected
}

function othersBeside() {
  return folder.beside.filter((name) => name !== folder.listed);
}

// The query of a piece of the turns that are selected.
function selection(from) {
  const [other] = othersBeside(), { sort, descending } = turnGrid;
  const values = { run: folder.listed, from, count: PIECE, status: [...selectedStatuses()].join(""), tag: page.tag.value, turn: page.turn.value || 0,
    search: page.search.value, sort, descending: descending ? 1 : 0 };
  return Object.entries(page.flipped.checked && other ? { ...values, other } : values);
}

async function select() {
  if (!folder.listed) return undefined;
  page.flippedlabel.hidden = !othersBeside().length;
  const version = ++fetched.version, found = await attempt(() => ask("turns", selection(0)));
  if (!found || version !== fetched.version) return undefined;
  fetched.pieces = new Map([[0, found.rows]]);
  keepAddress();
  return found;
}

function turn(place) {
  const number = Math.floor(place / PIECE), rows = fetched.pieces.get(number);
  if (rows === undefined) fetchPiece(number);
  return rows?.[place % PIECE];
}

function fetchPiece(number) {
  const { version, pieces } = fetched;
  pieces.set(number, null);
  attempt(async () => {
    const { rows } = await ask("turns", selection(number * PIECE));
    pieces.set(number, rows);
    if (version === fetched.version) drawTurns();
  });
}

// -- conversations, side by side

async function open({ id, repeat, turn }) {
  const names = [folder.listed, ...othersBeside()];
  const found = await Promise.all(names.map((name) => ask("conversation", [["run", name], ["id", id]])));
  const labels = names.map((name, n) => `${String.fromCharCode(65 + n)}: ${shortName(name)}`);
  showConversation(found.map((data, n) => ({ ...data, name: labels[n] })), id, repeat, turn);
  keepAddress([["conversation", id], ["repeat", repeat], ["turn", turn]]);
}

// The address of what is shown, so that it can be opened again while the page is served.
function keepAddress(more = []) {
  setAddress(`#${new URLSearchParams([["run", folder.listed], ...folder.beside.map((name) => ["beside", name]), ...more])}`);
}

// -- controls

turnGrid.source = { select, turn, open: (turn) => attempt(() => open(turn)) };
for (const form of [page.runcontrols, page.controls]) form.addEventListener("submit", (event) => event.preventDefault());
page.runsearch.addEventListener("input", filterRuns);
page.dataset.addEventListener("change", filterRuns);
page.conversation.addEventListener("close", () => { keepAddress(); page.grid.focus(); });

attempt(async () => {
  const place = new URLSearchParams(location.hash.slice(1)), named = place.get("run"), conversation = place.get("conversation");
  const newest = await listFiles();
  folder.beside = place.getAll("beside").filter((name) => folder.files.includes(name));
  for (const name of folder.beside) folder.rows.get(name).querySelector("input").checked = true;
  const listed = folder.files.includes(named) ? named : newest;
  const turns = attempt(async () => { if (listed !== null) await listTurns(listed); });
  const lines = attempt(async () => { await turns; await listLines(); }); // the numbers of a large run would delay its first turns
  await turns;
  const numbers = ["repeat", "turn"].map((name) => [name, Number(place.get(name)) || 1]);
  if (conversation !== null && folder.listed === named) await attempt(() => open({ id: conversation, ...Object.fromEntries(numbers) }));
  await lines;
});
