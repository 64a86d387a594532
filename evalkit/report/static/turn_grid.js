// The list of turns of a report and of "evalkit view": filters, order and keys. Only its visible rows are in the page.
const ROW = 34; // px, as in transcripts.css
const MOST_HEIGHT = 10_000_000; // px: browsers limit the height of an element
const KEYS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };
// Where the turns are from: select() applies the filters and returns how many turns match (total) of how many (all), or
// undefined if another selection was made meanwhile; turn(place) is a turn of the list, undefined while it is fetched;
// open(turn) shows its conversation.
const turnGrid = { source: null, total: 0, current: 0, sort: "order", descending: false };

function selectedStatuses() {
  return new Set([...page.statuses.querySelectorAll("input:checked")].map((box) => box.value));
}

async function selectTurns() {
  const found = await turnGrid.source.select();
  if (!found) return;
  Object.assign(turnGrid, { total: found.total, current: 0 });
  page.grid.scrollTop = 0;
  page.count.textContent = `${found.total.toLocaleString("en")} of ${found.all.toLocaleString("en")} turns`;
  page.nothing.hidden = found.total > 0;
  page.grid.setAttribute("aria-rowcount", found.total + 1);
  drawTurns();
}

function sortTurns(name) {
  turnGrid.descending = turnGrid.sort === name ? !turnGrid.descending : name !== "order";
  turnGrid.sort = name;
  for (const head of page.grid.querySelectorAll("[role=columnheader]")) {
    const own = head.querySelector("button")?.dataset.sort === name;
    head.setAttribute("aria-sort", own ? (turnGrid.descending ? "descending" : "ascending") : "none");
  }
  selectTurns();
}

// How far the list moves for a pixel of its scroll bar: more than one only if it is higher than an element can be.
function pixelsPerPixel() {
  const height = turnGrid.total * ROW, visible = page.grid.clientHeight;
  return height > MOST_HEIGHT ? (height - visible) / (MOST_HEIGHT - visible) : 1;
}

function drawTurns() {
  const box = page.grid, { total, current } = turnGrid;
  page.space.style.height = `${Math.min(total * ROW, MOST_HEIGHT)}px`; // the list is no higher than its rows
  const top = box.scrollTop * pixelsPerPixel();
  const from = Math.max(0, Math.floor(top / ROW) - 5);
  const to = Math.min(total, Math.ceil((top + box.clientHeight) / ROW) + 5);
  page.space.replaceChildren(...Array.from({ length: to - from }, (_, n) => turnRow(from + n, (from + n) * ROW - top + box.scrollTop)));
  if (from <= current && current < to) box.setAttribute("aria-activedescendant", `row-${current}`);
  else box.removeAttribute("aria-activedescendant");
}

function turnRow(place, top) {
  const turn = turnGrid.source.turn(place);
  const cells = turn ? [turn.id + (turn.repeat > 1 ? ` · repeat ${turn.repeat}` : ""), turn.turn, verdict({ status: [turn.status], score: [turn.score] }, 0),
    time(turn.latency), time(turn.ttft), brief(turn.user), brief(turn.output)] : ["…"];
  const line = make("div", { className: `row s-${turn?.status ?? "u"}`, role: "row", id: `row-${place}`, "aria-rowindex": place + 2,
    "aria-selected": place === turnGrid.current });
  line.style.transform = `translateY(${top}px)`;
  line.append(...cells.map((text) => make("span", { text, role: "gridcell", dir: "auto" })));
  line.addEventListener("click", () => { turnGrid.current = place; drawTurns(); openAt(place); });
  return line;
}

function brief(text) {
  return text.length > 160 ? text.slice(0, 160) + "…" : text;
}

function moveTo(place) {
  const box = page.grid, head = page.head.offsetHeight;
  turnGrid.current = Math.min(Math.max(place, 0), turnGrid.total - 1);
  const top = head + turnGrid.current * ROW / pixelsPerPixel();
  if (top < box.scrollTop + head) box.scrollTop = top - head;
  if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  drawTurns();
}

function openAt(place) {
  const turn = turnGrid.source.turn(place);
  if (turn) turnGrid.source.open(turn);
}

function fill(select, everything, values) {
  const before = select.value;
  select.replaceChildren(make("option", { text: everything, value: "" }),
    ...values.map((value) => make("option", { text: value, value })));
  select.value = values.map(String).includes(before) ? before : "";
}

page.grid.addEventListener("keydown", (event) => {
  if (event.target !== page.grid || !turnGrid.total) return; // a button in a heading
  if (event.key in KEYS) {
    event.preventDefault();
    moveTo(turnGrid.current + KEYS[event.key]);
  } else if (event.key === "Enter") {
    event.preventDefault();
    openAt(turnGrid.current);
  }
});
page.grid.addEventListener("scroll", () => requestAnimationFrame(drawTurns));
new ResizeObserver(() => requestAnimationFrame(drawTurns)).observe(page.grid); // a frame may get its height later
let typing = 0;
page.search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(selectTurns, 150); });
for (const control of [page.tag, page.turn, page.statuses, page.flipped]) control?.addEventListener("change", selectTurns);
for (const button of page.grid.querySelectorAll("button[data-sort]")) button.addEventListener("click", () => sortTurns(button.dataset.sort));
