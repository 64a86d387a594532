// The page of "evalkit view". The server has the runs: their lines and turns are fetched in pieces, conversations one by
// one, and shown by the functions of transcript_browser.js. All of it is text, never markup.
const PIECE = 100, LINES = 20;
const folder = { files: [], lines: new Map(), rows: new Map(), listed: null, beside: [] };
const turnList = { total: 0, pieces: new Map(), current: 0, sort: "order", descending: false, version: 0 };

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

async function listFiles() {
  const found = await ask("files");
  page.foldername.textContent = visible(`Runs in ${found.folder}`);
  folder.files = found.files;
  for (const name of found.files) folder.rows.set(name, runRow(name));
  page.runrows.replaceChildren(...folder.rows.values());
  page.folder.removeAttribute("aria-busy");
  countRuns();
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

function runRow(name) {
  const box = make("input", { type: "checkbox", "aria-label": `${name} side by side` });
  box.addEventListener("change", () => attempt(() => placeBeside(name, box.checked)));
  const button = make("button", { text: name.replace(/\.evalkit$/, ""), type: "button" });
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
  const hint = all ? "; a run's name lists its turns, a tick puts its conversations side by side" : ": 'evalkit run DATA' creates one";
  page.runcount.textContent = `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} run files${hint}`;
}

async function placeBeside(name, chosen) {
  folder.beside = folder.beside.filter((other) => other !== name);
  if (chosen) folder.beside.push(name);
  await selectTurns();
}

// -- the turns of a run

async function listTurns(name) {
  folder.listed = name;
  for (const [other, row] of folder.rows) row.toggleAttribute("aria-current", other === name);
  page.turns.hidden = false;
  page.listed.textContent = visible(`Turns of ${name.replace(/\.evalkit$/, "")}`);
  const labels = await ask("labels", [["run", name]]);
  fill(page.onlytag, "all tags", labels.tags);
  fill(page.onlyturn, "all turns", labels.turns);
  await selectTurns();
}

function othersBeside() {
  return folder.beside.filter((name) => name !== folder.listed);
}

// The query of a piece of the turns that are selected.
function selection(from) {
  const [other] = othersBeside(), status = [...page.onlystatus.querySelectorAll("input:checked")].map((box) => box.value).join("");
  const values = { run: folder.listed, from, count: PIECE, status, tag: page.onlytag.value, turn: page.onlyturn.value || 0,
    search: page.turnsearch.value, sort: turnList.sort, descending: turnList.descending ? 1 : 0 };
  return Object.entries(page.differ.checked && other ? { ...values, other } : values);
}

async function selectTurns() {
  if (!folder.listed) return;
  page.differlabel.hidden = !othersBeside().length;
  const version = ++turnList.version, found = await ask("turns", selection(0));
  if (version !== turnList.version) return; // another selection was made meanwhile
  Object.assign(turnList, { total: found.total, current: 0, pieces: new Map([[0, found.rows]]) });
  page.turncount.textContent = `${found.total.toLocaleString("en")} of ${found.all.toLocaleString("en")} turns`;
  page.turngrid.setAttribute("aria-rowcount", found.total + 1);
  page.turngrid.scrollTop = 0;
  keepAddress();
  drawTurns();
}

// The turn at a place of the list; undefined while it is being fetched.
function turnAt(place) {
  const number = Math.floor(place / PIECE), rows = turnList.pieces.get(number);
  if (rows === undefined) fetchPiece(number);
  return rows?.[place % PIECE];
}

function fetchPiece(number) {
  const { version, pieces } = turnList;
  pieces.set(number, null);
  attempt(async () => {
    const { rows } = await ask("turns", selection(number * PIECE));
    if (version !== turnList.version) return;
    pieces.set(number, rows);
    drawTurns();
  });
}

function drawTurns() {
  const box = page.turngrid, { total, current } = turnList, fits = Math.min(total * ROW, MOST_HEIGHT);
  const top = total * ROW > MOST_HEIGHT ? box.scrollTop / (fits - box.clientHeight) * (total * ROW - box.clientHeight) : box.scrollTop;
  const from = Math.max(0, Math.floor(top / ROW) - 5), to = Math.min(total, Math.ceil((top + box.clientHeight) / ROW) + 5);
  page.turnspace.style.height = `${fits}px`;
  page.turnspace.replaceChildren(...Array.from({ length: to - from }, (_, n) => turnRow(from + n, (from + n) * ROW - top + box.scrollTop)));
  if (from <= current && current < to) box.setAttribute("aria-activedescendant", `turn-${current}`);
  else box.removeAttribute("aria-activedescendant");
}

const MOST_HEIGHT = 10_000_000; // px: browsers limit the height of an element

function turnRow(place, top) {
  const turn = turnAt(place);
  const line = make("div", { className: `row s-${turn?.status ?? "u"}`, role: "row", id: `turn-${place}`, "aria-rowindex": place + 2,
    "aria-selected": place === turnList.current });
  const cells = turn ? [turn.id + (turn.repeat > 1 ? ` · repeat ${turn.repeat}` : ""), turn.turn, verdict({ status: [turn.status], score: [turn.score] }, 0),
    time(turn.latency), time(turn.ttft), brief(turn.user), brief(turn.output)] : ["…"];
  line.style.transform = `translateY(${top}px)`;
  line.append(...cells.map((text) => make("span", { text, role: "gridcell", dir: "auto" })));
  line.addEventListener("click", () => { moveTo(place); openAt(place); });
  return line;
}

function moveTo(place) {
  const box = page.turngrid, head = page.turnhead.offsetHeight, { total } = turnList;
  turnList.current = Math.min(Math.max(place, 0), total - 1);
  const scale = total * ROW > MOST_HEIGHT ? (MOST_HEIGHT - box.clientHeight) / (total * ROW - box.clientHeight) : 1;
  const top = turnList.current * ROW * scale;
  if (top < box.scrollTop) box.scrollTop = top;
  if (top + ROW + head > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW + head - box.clientHeight;
  drawTurns();
}

function sortTurns(name) {
  turnList.descending = turnList.sort === name ? !turnList.descending : name !== "order";
  turnList.sort = name;
  for (const head of page.turngrid.querySelectorAll("[role=columnheader]:has(button)")) {
    const own = head.querySelector("button").dataset.sort === name;
    head.setAttribute("aria-sort", own ? (turnList.descending ? "descending" : "ascending") : "none");
  }
  attempt(selectTurns);
}

// -- conversations, side by side

function openAt(place) {
  const turn = turnAt(place);
  if (turn) attempt(() => showConversation(turn.id, turn.repeat, turn.turn));
}

async function showConversation(id, repeat, turn) {
  const names = [folder.listed, ...othersBeside()];
  const found = await Promise.all(names.map((name) => ask("conversation", [["run", name], ["id", id]])));
  runs.splice(0, runs.length, ...found.map((data, n) => ({ element: { dataset: { name: names[n].replace(/\.evalkit$/, "") } }, data })));
  await openConversation(id, repeat, turn);
  keepAddress([["conversation", id], ["repeat", repeat], ["turn", turn]]);
}

// The address of what is shown, so that it can be opened again while the page is served.
function keepAddress(more = []) {
  setAddress(`#${new URLSearchParams([["run", folder.listed], ...folder.beside.map((name) => ["beside", name]), ...more])}`);
}

// -- controls and keys

page.turngrid.addEventListener("keydown", (event) => {
  if (event.target !== page.turngrid || !turnList.total) return; // a button in a heading
  if (event.key in KEYS) {
    event.preventDefault();
    moveTo(turnList.current + KEYS[event.key]);
  } else if (event.key === "Enter") {
    event.preventDefault();
    openAt(turnList.current);
  }
});
page.turngrid.addEventListener("scroll", () => requestAnimationFrame(drawTurns));
let searching = 0;
page.turnsearch.addEventListener("input", () => { clearTimeout(searching); searching = setTimeout(() => attempt(selectTurns), 250); });
for (const control of [page.onlytag, page.onlyturn, page.onlystatus, page.differ]) control.addEventListener("change", () => attempt(selectTurns));
for (const form of [page.runcontrols, page.turncontrols]) form.addEventListener("submit", (event) => event.preventDefault());
page.runsearch.addEventListener("input", filterRuns);
page.dataset.addEventListener("change", filterRuns);
page.conversation.addEventListener("close", () => { keepAddress(); page.turngrid.focus(); });
for (const button of page.turngrid.querySelectorAll("button[data-sort]")) button.addEventListener("click", () => sortTurns(button.dataset.sort));

attempt(async () => {
  const place = new URLSearchParams(location.hash.slice(1));
  await listFiles();
  const listed = folder.files.includes(place.get("run")) ? place.get("run") : folder.files[0];
  folder.beside = place.getAll("beside").filter((name) => folder.files.includes(name));
  for (const name of folder.beside) folder.rows.get(name).querySelector("input").checked = true;
  const lines = attempt(listLines);
  if (listed) await attempt(() => listTurns(listed));
  if (place.get("conversation") !== null) await attempt(() => showConversation(place.get("conversation"), Number(place.get("repeat")) || 1, Number(place.get("turn")) || 1));
  await lines;
});
