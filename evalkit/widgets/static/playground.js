
const WIDE = 880, HIGH = 58, EDGE = 10;

function render({ model, el }) {
  const { model: name, base_url: where } = model.get("address");
  const log = make("div", { role: "log", "aria-label": "conversation" }), live = make("div");
  const system = make("textarea", { rows: 1, placeholder: "none" }), text = make("textarea", { rows: 2 });
  const send = make("button", { type: "button", text: "Send", className: "ek-first" });
  const stop = make("button", { type: "button", text: "Stop" }), clear = make("button", { type: "button", text: "New conversation" });
  const status = make("span", { role: "status" }), problem = make("p", { className: "ek-wrong", role: "alert" });
  el.append(make("section", { className: "evalkit ek-playground", "aria-label": "Playground" },
    make("header", {}, make("h3", { text: name }), make("span", { text: where, className: "ek-state" })),
    make("label", { text: "System prompt" }, system), log, live, problem,
    make("label", { text: "Message (Enter sends, Shift+Enter starts a new line)" }, text),
    make("div", { className: "ek-buttons" }, send, stop, clear, status)));
  let waiting = 0; // since when the kernel has not replied
  let drawn = [];

  function show() {
    const past = model.get("past"), current = model.get("live").state ? model.get("live") : null;
    if (past.length < drawn.length) { log.replaceChildren(); drawn = []; }
    for (const turn of past.slice(drawn.length)) { log.append(turnArticle(turn)); drawn.push(turn); }
    if (current || past.length !== show.before) waiting = 0;
    show.before = past.length;
    showLive(live, current);
    setText(problem, model.get("problem"));
    problem.hidden = !model.get("problem");
    if (model.get("problem")) waiting = 0;
    const busy = Boolean(current || waiting);
    send.disabled = busy;
    clear.disabled = busy || !past.length;
    stop.disabled = !busy;
    setText(status, current ? "streaming" : waiting ? (Date.now() - waiting > 1500 ? "waiting: a running cell keeps the kernel busy" : "sent") : "");
  }

  function sendMessage() {
    if (send.disabled || !text.value.trim()) return;
    model.send({ do: "send", text: text.value, system: system.value });
    text.value = "";
    waiting = Date.now();
    setTimeout(show, 1600);
    show();
  }

  send.addEventListener("click", sendMessage);
  text.addEventListener("keydown", (event) => {
    event.stopPropagation(); // Shift+Enter would run the notebook cell
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); sendMessage(); }
  });
  system.addEventListener("keydown", (event) => event.stopPropagation());
  stop.addEventListener("click", () => press(model, () => false).catch((error) => setText(problem, error.message)));
  clear.addEventListener("click", () => { model.send({ do: "clear" }); text.focus(); });
  for (const trait of ["past", "live", "problem"]) model.on(`change:${trait}`, show);
  show();
  return () => { for (const trait of ["past", "live", "problem"]) model.off(`change:${trait}`, show); };
}

function showLive(box, turn) {
  if (!turn) { box.replaceChildren(); return; }
  if (!box.children.length) box.append(...messages(turn));
  setText(box.querySelector(".ek-asked"), turn.user);
  const answer = box.querySelector(".ek-answer"), atEnd = answer.scrollTop + answer.clientHeight >= answer.scrollHeight - 8;
  setText(answer, turn.answer || (turn.reasoning ? `(thinking) ${turn.reasoning}` : "…"));
  if (atEnd) answer.scrollTop = answer.scrollHeight;
  box.querySelector("figure").replaceChildren(...arrivals(turn));
}

function messages(turn) {
  return [
    make("span", { text: "user", className: "ek-who" }), make("div", { text: turn.user, className: "ek-words ek-asked", dir: "auto" }),
    make("span", { text: "assistant", className: "ek-who" }),
    make("div", { className: "ek-words ek-answer readable", dir: "auto", "data-state": turn.state }),
    make("figure", {}, ...arrivals(turn)),
  ];
}

function turnArticle(turn) {
  const article = make("article", {}, ...messages(turn));
  const answer = article.querySelector(".ek-answer");
  setReadable(answer, turn.answer);
  if (!turn.answer) answer.replaceChildren(make("span", { text: "no answer", className: "ek-none" }));
  if (turn.cut) answer.after(make("p", { text: `${turn.cut.toLocaleString("en")} more characters are not shown.`, className: "ek-none" }));
  if (turn.problem) answer.after(make("p", { text: `${turn.problem} It is not part of the conversation.`, className: "ek-wrong" }));
  if (turn.state === "stopped") answer.after(make("p", { text: "stopped", className: "ek-wrong" }));
  if (turn.reasoning) article.append(copyable("Reasoning", () => turn.reasoning));
  article.append(copyable("cURL", () => turn.curl), copyable("Python", () => turn.python));
  return article;
}

// One line per read that brought tokens, at its time.
function arrivals(turn) {
  if (!turn.arrivals.length) return [];
  const last = turn.arrivals.at(-1), end = roundUp(last), x = (ms) => EDGE + (WIDE - 2 * EDGE) * (ms / end);
  const picture = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" },
    draw("line", { x1: x(0), x2: x(end), y1: 36, y2: 36, className: "ek-grid" }));
  picture.append(draw("path", { d: turn.arrivals.map((at) => `M${x(at).toFixed(1)} 8v28`).join(""), className: "ek-tick" }));
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    picture.append(draw("text", { x: x(end * share), y: 52, "text-anchor": anchor, text: share ? time(end * share) : "sent" }));
  }
  const facts = [`first token ${time(turn.ttft)}`, turn.latency === null ? null : `latency ${time(turn.latency)}`, `${turn.reads} arrivals`,
    turn.tokens[1] === null ? null : `${turn.tokens[0] ?? "?"} tokens in, ${turn.tokens[1]} out`, turn.latency === null ? null : turn.note].filter(Boolean).join(" · ");
  picture.setAttribute("aria-label", `Arrivals over time: ${facts}`);
  return [picture, make("figcaption", { text: facts })];
}

export default { render };
