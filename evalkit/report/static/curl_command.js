// The request of a turn as a cURL command. The page concatenates elements.js, this file and transcript_browser.js.

function curlOf(data, place, i) {
  const code = make("pre", { tabindex: 0, "aria-label": "cURL command" });
  const copy = make("button", { text: "copy", type: "button" });
  copy.addEventListener("click", () => copyText(code, copy));
  const details = make("details", {}, make("summary", { text: "cURL" }), code, copy);
  details.addEventListener("toggle", () => { if (!code.textContent) code.textContent = curl(data, place, i); });
  return details;
}

function curl(data, place, i) {
  const { endpoint } = data, messages = messagesBefore(data, place, i);
  if (!messages) return "# not available: an earlier answer is too long for this report; the run file has it";
  if (messages.some(({ content }) => content === undefined)) return "# not available: an image or another part is too long for this report; the run file has it";
  const body = { model: endpoint.model, messages, stream: data.stream };
  if (data.stream) body.stream_options = { include_usage: true };
  const seed = data.seed === null ? {} : { seed: data.seed + data.turns.repeat[i] - 1 };
  Object.assign(body, endpoint.params, seed, data.conversations.params[place] || {});
  for (const name of Object.keys(body)) if (body[name] === null) delete body[name];
  if (data.conversations.tools[place]) body.tools = data.conversations.tools[place];
  const lines = [`curl ${data.stream ? "-N " : ""}${quoted(encoded(endpoint.url))}`,
    "-H 'Content-Type: application/json'"];
  if (endpoint.key_env) lines.push(`-H "Authorization: Bearer $${endpoint.key_env.replace(/\W/g, "")}"`);
  lines.push(...endpoint.curl_lines);
  const json = escaped(JSON.stringify(body, null, 1));
  // a system limits the length of one argument; a line of JSON is never the word that ends the input
  lines.push(json.length > LONGEST_ARGUMENT ? `--data-binary @- <<'END'\n${json}\nEND` : `--data-raw ${quoted(json)}`);
  return filesOf(data, place, i) + lines.join(" \\\n  ");
}

const LONGEST_ARGUMENT = 100000;

// Which files to put into the command: the report does not have them.
function filesOf(data, place, i) {
  const before = turnsOf(data, place, data.turns.repeat[i]).filter((j) => data.turns.turn[j] <= data.turns.turn[i]);
  const parts = [...(data.conversations.context[place] || []).map((message) => message.parts), ...before.map((j) => data.turns.parts[j])];
  const files = new Set(parts.flat().map((part) => part?.file).filter(Boolean));
  return [...files].map((name) => `# the run sent the content of this file: put it in place of its name: ${escaped(JSON.stringify(name))}\n`).join("");
}

// The content of a message as it was sent; undefined if a part of it is too long for the report.
function contentOf(text, parts) {
  if (!parts) return text;
  return parts.some((part) => part.sent === null) ? undefined : parts.map((part) => part.sent);
}

function messagesBefore(data, place, i) {
  const { turns, conversations } = data, messages = [];
  if (conversations.system[place] !== null) messages.push({ role: "system", content: conversations.system[place] });
  for (const { parts, ...message } of conversations.context[place] || []) {
    messages.push({ ...message, content: contentOf(message.content, parts) });
  }
  for (const j of turnsOf(data, place, turns.repeat[i])) {
    if (turns.turn[j] >= turns.turn[i]) break;
    messages.push({ role: "user", content: contentOf(turns.user[j], turns.parts[j]) });
    if (data.history === "golden") messages.push({ role: "assistant", content: turns.golden[j] });
    else if (turns.later[j] === false) return null;
    else messages.push(...(turns.later[j] || [{ role: "assistant", content: turns.answer[j] }]));
  }
  messages.push({ role: "user", content: contentOf(turns.user[i], turns.parts[i]) });
  return messages;
}

// Invisible characters, such as marks that reverse the direction of text. request_as_code.py writes the same command
// for a terminal by the same rule.
const INVISIBLE = /(?![ \n])[\p{C}\p{Z}]/gu;

function escaped(json) {
  return json.replace(INVISIBLE, (character) =>
    Array.from({ length: character.length }, (_, n) => `\\u${character.charCodeAt(n).toString(16).padStart(4, "0")}`).join(""));
}

function encoded(url) {
  return url.replaceAll("\n", "%0A").replace(INVISIBLE, (character) => /\p{Cs}/u.test(character) ? "%3F" : encodeURIComponent(character));
}

// In single quotes, a shell takes everything literally except the single quote.
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

async function copyText(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "selected: copy it";
  }
}

