
const WIDE = 880, HIGH = 180, LEFT = 64, BOTTOM = 30, TOP = 12;
const MOST_BANDS = 16; // turn indices with their own band; later ones share the last

function render({ model, el }) {
  const title = make("h3"), status = make("span", { className: "ek-state", role: "status" });
  const bar = make("progress", { "aria-label": "turns done", max: 1 });
  const facts = make("dl"), errors = make("p", { className: "ek-errors" });
  const stop = make("button", { type: "button", text: "Stop", title: "Waits for answers in flight and keeps them; ek.resume continues the run" });
  const chart = make("figure");
  const dashboard = make("a", { target: "_blank", rel: "noopener noreferrer", text: "Dask dashboard" });
  el.append(make("section", { className: "evalkit ek-live", "aria-label": "Run" },
    make("header", {}, title, status, dashboard, stop), bar, facts, errors, chart));
  let pressed = false;

  function show() {
    const seen = model.get("seen"), ended = seen.state === "ended", total = seen.total;
    setText(title, seen.name);
    setText(status, ended ? seen.outcome : seen.state === "stopping" || pressed ? "stopping: waiting for answers in flight" : "running");
    status.dataset.state = ended ? (seen.outcome === "done" ? "done" : "stopped") : seen.state;
    if (total !== null) { bar.max = Math.max(total, 1); bar.value = seen.done; }
    else if (ended) bar.value = 1;
    else bar.removeAttribute("value");
    dashboard.hidden = !/^https?:\/\//.test(seen.dashboard ?? "");
    if (dashboard.hidden) dashboard.removeAttribute("href");
    else dashboard.href = seen.dashboard;
    stop.disabled = pressed || seen.state !== "running";
    const failed = Object.values(seen.errors).reduce((sum, count) => sum + count, 0);
    list(facts, [
      ["turns", `${whole(seen.done)} of ${total === null ? "?" : whole(total)}`],
      ["errors", whole(failed)],
      ["rate", seen.per_s === null ? "–" : `${seen.per_s.toPrecision(3)}/s`],
      [ended ? "accuracy" : "accuracy so far", seen.accuracy_text],
      ["time left", ended ? "–" : left(seen.left_s)],
    ]);
    setText(errors, Object.entries(seen.errors).map(([kind, count]) => `${whole(count)} × ${kind}`).join(", "));
    errors.hidden = !failed;
  }

  function showLatencies() {
    chart.replaceChildren(...plot(model.get("latencies")));
  }

  stop.addEventListener("click", () => {
    pressed = true;
    show();
    press(model, () => model.get("seen").state === "running").catch((error) => setText(status, `could not be stopped: ${error.message}`));
  });
  model.on("change:seen", show);
  model.on("change:latencies", showLatencies);
  show();
  showLatencies();
  return () => {
    model.off("change:seen", show);
    model.off("change:latencies", showLatencies);
  };
}

function list(element, pairs) {
  if (!element.children.length) element.append(...pairs.map(() => make("div", {}, make("dt"), make("dd"))));
  pairs.forEach(([name, value], i) => {
    setText(element.children[i].children[0], name);
    setText(element.children[i].children[1], value);
  });
}

function whole(number) {
  return number.toLocaleString("en");
}

function left(seconds) {
  if (seconds === null) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// One band per turn index, with its latest turns from left to right in the order they ended, and their median.
function plot(latencies) {
  if (!latencies.length) return [];
  const bands = new Map();
  for (const [turn, ms] of latencies) {
    const band = Math.min(turn, MOST_BANDS);
    if (!bands.has(band)) bands.set(band, []);
    bands.get(band).push(ms);
  }
  const turns = [...bands.keys()].sort((a, b) => a - b), top = roundUp(Math.max(...latencies.map(([, ms]) => ms)));
  const width = (WIDE - LEFT) / turns.length, y = (ms) => TOP + (HIGH - TOP - BOTTOM) * (1 - ms / top);
  const picture = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  for (const share of [0, 0.5, 1]) {
    picture.append(draw("line", { x1: LEFT, x2: WIDE, y1: y(top * share), y2: y(top * share), className: "ek-grid" }),
      draw("text", { x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end", text: share ? time(top * share) : "0" }));
  }
  const medians = [];
  turns.forEach((turn, n) => {
    const own = bands.get(turn), from = LEFT + n * width + 6, wide = width - 12;
    const middle = median(own);
    picture.append(draw("line", { x1: from, x2: from + wide, y1: y(middle), y2: y(middle), className: "ek-median" }),
      draw("text", { x: from + wide / 2, y: HIGH - BOTTOM + 16, "text-anchor": "middle",
        text: `${turns.length > 6 ? "" : "turn "}${turn}${turn === MOST_BANDS ? "+" : ""}` }));
    const dots = own.map((ms, i) => {
      const across = own.length === 1 ? 0.5 : i / (own.length - 1);
      return `M${(from + wide * across).toFixed(1)} ${y(ms).toFixed(1)}h0`; // a line of length 0, whose round ends make a dot
    });
    picture.append(draw("path", { d: dots.join(""), className: "ek-dot" }));
    medians.push(`turn ${turn} ${time(middle)}`);
  });
  picture.setAttribute("aria-label", `Median latency of the latest turns: ${medians.join(", ")}`);
  return [picture, make("figcaption", { text: `Latency of the latest ${whole(latencies.length)} turns by turn index; lines are medians` })];
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

export default { render };
