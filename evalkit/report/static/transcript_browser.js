// The transcript browser of a report: its data are embedded in the page, compressed.
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
    run.data = { ...await unpack(run.element), name: run.element.dataset.name };
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

const state = { run: 0, data: null, shown: [] };

function searchText(data, i) {
  data.searchTexts ??= [];
  return (data.searchTexts[i] ??= [data.conversations.id[data.turns.conversation[i]], data.turns.user[i], outputText(data.turns, i),
    data.turns.error[i], data.turns.reason[i]].filter(Boolean).join("\n").toLowerCase());
}

async function select() {
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
  return { total: shown.length, all: turns.conversation.length };
}

function hasFlipped(data, other, i) {
  const { turns, conversations } = data;
  const there = other.places.get(key(conversations.id[turns.conversation[i]], turns.repeat[i], turns.turn[i]));
  return there !== undefined && turns.score[i] !== null && other.turns.score[there] !== null &&
    turns.score[i] !== other.turns.score[there];
}

function sorted(shown) {
  const { sort, descending } = turnGrid;
  if (sort === "order") return descending ? shown.reverse() : shown;
  const values = state.data.turns[sort], sign = descending ? -1 : 1;
  const missing = (i) => values[i] === null || values[i] === undefined; // last in both directions
  return shown.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * (values[a] - values[b])) || a - b);
}

function outputText(turns, i) {
  const reasoning = turns.reasoning[i] === null || !isAlone(turns, i) ? "" : `(only reasoning) ${turns.reasoning[i]}`;
  return [turns.answer[i], turns.refusal[i] === null ? "" : `(refusal) ${turns.refusal[i]}`, reasoning].filter(Boolean).join(" ");
}

function turn(place) {
  const { turns, conversations } = state.data, i = state.shown[place];
  const { repeat, turn, status, score, latency, ttft, user } = Object.fromEntries(Object.entries(turns).map(([name, column]) => [name, column[i]]));
  return { id: conversations.id[turns.conversation[i]], repeat, turn, status, score, latency, ttft, user, output: turns.error[i] || outputText(turns, i) };
}

// -- one conversation

async function openConversation(id, repeat, turn) {
  const all = await Promise.all(runs.map((_, number) => load(number)));
  showConversation(all, id, repeat, turn);
  setAddress(`#run=${state.run}&conversation=${encodeURIComponent(id)}&repeat=${repeat}`);
}

// -- which run is listed

async function choose(number) {
  page.run.disabled = true;
  state.data = await load(number);
  state.run = number;
  page.run.disabled = false;
  fill(page.tag, "all tags", [...new Set(state.data.conversations.tags.flat())].sort());
  fill(page.turn, "all turns", [...new Set(state.data.turns.turn)].sort((a, b) => a - b));
  await selectTurns();
}

turnGrid.source = { select, turn, open: ({ id, repeat, turn }) => openConversation(id, repeat, turn) };
page.run.addEventListener("change", () => choose(Number(page.run.value)));
page.conversation.addEventListener("close", () => { setAddress("#"); page.grid.focus(); });

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
