// The conversation: what is typed goes to the engine, what it says comes word by word into the log.
// Text of people and of the bot is only ever set as text, never as HTML.

import { createEngine, EngineError } from "./engine.js";
import { heatMap } from "./attention.js";
import { download, transcript } from "./transcript.js";

const STARTERS = ["Hello!", "How are you?", "Tell me a joke.", "My dog died yesterday."];
const LISTEN_AGAIN = 1500; // milliseconds between two looks whether an engine that was gone is back

const by = (id) => /** @type {any} */ (document.getElementById(id));
const [log, text, composer, send, stop, state] = ["log", "text", "composer", "send", "stop", "state"].map(by);

const engine = createEngine((share) => say(share < 1 ? `loading, ${Math.round(100 * share)} %` : "connecting"));
/** @type {import("./engine.js").Info} */
let info = { name: "Chatbot", context: 0, characters: 10000, decoding: "", methods: [] };
/** @type {{text: string, reply: string, unknown: string[], attention: import("./engine.js").Attention | null}[]} */
let turns = [];
/** @type {AbortController | null} */
let asking = null;

// --- the engine -----------------------------------------------------------------------------------------------------

async function meet() {
  try {
    info = await engine.info();
  } catch (error) {
    if (error.kind === "key") return askForKey(meet);
    gone(error.message);
    return;
  }
  by("name").textContent = document.title = info.name;
  by("own").textContent = info.decoding;
  text.maxLength = info.characters;
  by("reads").textContent = reads(info.context);
  for (const radio of by("decoding").querySelectorAll("input[name=method]")) {
    radio.disabled = radio.value !== "default" && !info.methods.includes(radio.value);
  }
  say("ready", "ready");
}

function reads(context) {
  if (!context) return "It reads your last message only, and none of the turns before it.";
  return `It reads your last message and the ${context === 1 ? "turn" : `${context} turns`} before it, and nothing earlier.`;
}

function say(what, kind = "") {
  state.textContent = what;
  state.className = kind;
}

function gone(message) {
  say(message, "gone");
  setTimeout(async () => ((await engine.alive()) ? meet() : gone(message)), LISTEN_AGAIN);
}

function askForKey(then) {
  const dialog = by("key");
  if (!engine.useKey || dialog.open) return;
  dialog.addEventListener("close", () => {
    engine.useKey(by("key-text").value.trim());
    by("key-text").value = "";
    then();
  }, { once: true });
  dialog.showModal();
}

/** @returns {import("./engine.js").Options} */
function options() {
  const chosen = new FormData(by("decoding").querySelector("form"));
  return {
    method: /** @type {import("./engine.js").Options["method"]} */ (chosen.get("method")),
    width: Number(chosen.get("width")),
    temperature: Number(chosen.get("temperature")),
    share: Number(chosen.get("share")),
    seed: Math.floor(Math.random() * 2 ** 31),
  };
}

// --- a turn ---------------------------------------------------------------------------------------------------------

async function answer(sentence) {
  // only what the bot reads is sent: however long the conversation gets, a request stays small
  const history = info.context ? turns.flatMap((turn) => [turn.text, turn.reply]).slice(-info.context) : [];
  const asked = line("you", sentence);
  const said = line("bot", "");
  said.setAttribute("aria-busy", "true");
  const bubble = said.querySelector(".bubble");
  busy(new AbortController());
  try {
    const pieces = engine.stream(sentence, history, options(), asking.signal);
    let step = await pieces.next();
    for (; !step.done; step = await pieces.next()) {
      bubble.textContent += step.value;
      toTheEnd();
    }
    const turn = { text: sentence, ...step.value };
    turns.push(turn);
    keep();
    finish(asked, said, turn);
  } catch (error) {
    fail(asked, said, sentence, error);
  }
  said.removeAttribute("aria-busy");
  busy(null);
  toTheEnd();
}

function fail(asked, said, sentence, error) {
  if (error.name === "AbortError") {
    asked.remove();
    said.remove();
    text.value ||= sentence;
    return;
  }
  if (!(error instanceof EngineError)) console.error(error);
  const message = error instanceof EngineError ? error.message : "Something went wrong.";
  said.classList.add("failed");
  const bubble = said.querySelector(".bubble");
  bubble.textContent = message;
  const again = button("Try again", () => {
    asked.remove();
    said.remove();
    if (!asking) answer(sentence);
  });
  if (error.kind !== "refused") bubble.append(" ", again);
  if (error.kind === "gone") gone("not there");
  if (error.kind === "key") askForKey(() => again.click());
}

/** What stands under a reply when it is whole. */
function finish(asked, said, turn) {
  markUnknown(asked.querySelector(".bubble"), turn);
  const bubble = said.querySelector(".bubble");
  bubble.textContent = turn.reply || (turn.attention ? "(it says nothing)" : "(no word in that; try another)");
  bubble.classList.toggle("nothing", !turn.reply);
  const notes = document.createElement("div");
  notes.className = "notes";
  if (turn.unknown.length) {
    const note = document.createElement("span");
    note.className = "unknown-note";
    note.textContent = `I never learnt: ${turn.unknown.slice(0, 5).map((word) => word.slice(0, 30)).join(", ")}`;
    notes.append(note);
  }
  if (turn.attention) {
    const look = button("Attention", () => {
      const open = look.getAttribute("aria-expanded") === "true";
      look.setAttribute("aria-expanded", String(!open));
      if (open) said.querySelector(".heat-frame").remove();
      else {
        const picture = heatMap(turn.attention);
        said.append(picture);
        picture.scrollLeft = picture.scrollWidth; // the sentence itself stands behind the turns before it
      }
      if (!open) said.scrollIntoView({ block: "nearest" });
    });
    look.setAttribute("aria-expanded", "false");
    look.title = "Which words the reply looked at";
    notes.append(look);
  }
  said.append(notes);
  horizon();
}

function markUnknown(bubble, turn) {
  const unknown = new Set(turn.unknown);
  bubble.replaceChildren(
    ...turn.text.split(/([\p{L}\p{N}']+)/u).map((part) => {
      if (!unknown.has(part) && !unknown.has(part.toLowerCase())) return part;
      const mark = document.createElement("mark");
      mark.textContent = part;
      mark.title = "the bot never learnt this word";
      return mark;
    }),
  );
}

/** A line that says from where on the bot reads: above it, it has forgotten. */
function horizon() {
  log.querySelector(".horizon")?.remove();
  const spoken = [...log.querySelectorAll("li:not(.failed)")];
  const first = spoken[spoken.length - info.context];
  if (spoken.length <= info.context || (info.context && !first)) return;
  const item = document.createElement("li");
  item.className = "horizon";
  item.textContent = info.context ? "it remembers from here" : "it remembers nothing of this";
  if (info.context) first.before(item);
  else log.append(item);
}

function line(who, what) {
  by("welcome").hidden = true;
  log.querySelector(".horizon")?.remove();
  const item = document.createElement("li");
  item.className = who;
  const name = document.createElement("span");
  name.className = "hidden";
  name.textContent = who === "you" ? "You: " : `${info.name}: `;
  const bubble = document.createElement("div");
  bubble.className = "bubble";
  bubble.textContent = what;
  item.append(name, bubble);
  log.append(item);
  toTheEnd();
  return item;
}

function button(label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", action);
  return made;
}

function busy(controller) {
  asking = controller;
  send.hidden = controller !== null;
  stop.hidden = controller === null;
}

function toTheEnd() {
  log.parentElement.scrollTop = log.parentElement.scrollHeight;
}

// --- the conversation as a whole --------------------------------------------------------------------------------------

function keep() {
  stored(() => sessionStorage.setItem("turns", JSON.stringify(turns)));
}

/** What comes of a look into the browser's storage; null where it has no room, is not allowed, or holds no JSON. */
function stored(look) {
  try {
    return look();
  } catch {
    return null;
  }
}

function show() {
  log.replaceChildren();
  by("welcome").hidden = turns.length > 0;
  for (const turn of turns) finish(line("you", turn.text), line("bot", turn.reply), turn);
}

function fresh() {
  asking?.abort();
  turns = [];
  keep();
  show();
  text.focus();
}

// --- what people press ------------------------------------------------------------------------------------------------

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const sentence = text.value.trim();
  if (!sentence || asking) return;
  text.value = "";
  grow();
  answer(sentence);
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
text.addEventListener("input", grow);
stop.addEventListener("click", () => asking?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = /** @type {HTMLDetailsElement | null} */ (document.querySelector("details[open]"));
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else asking?.abort();
});
document.addEventListener("click", (event) => {
  const outside = [...document.querySelectorAll("details")].filter((one) => !one.contains(/** @type {Node} */ (event.target)));
  for (const one of outside) one.open = false;
});
by("fresh").addEventListener("click", fresh);
by("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(transcript(turns)).then(() => told("Copied"), () => told("Not allowed here"));
});
by("download").addEventListener("click", () => download(transcript(turns), `${info.name}.txt`));
by("theme").addEventListener("click", () => theme(shown() === "dark" ? "light" : "dark"));
by("decoding").addEventListener("input", () => {
  for (const range of by("decoding").querySelectorAll(".range")) {
    range.hidden = range.dataset.of !== options().method;
    range.querySelector("output").textContent = range.querySelector("input").value;
  }
});

function told(what) {
  const before = by("copy").textContent;
  by("copy").textContent = what;
  setTimeout(() => (by("copy").textContent = before), 1500);
}

function grow() {
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 160)}px`;
}

function shown() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  stored(() => localStorage.setItem("theme", name));
}

const chosen = stored(() => localStorage.getItem("theme"));
if (chosen) theme(chosen);
by("starters").append(...STARTERS.map((sentence) => button(sentence, () => asking || answer(sentence))));
by("decoding").dispatchEvent(new Event("input"));
turns = stored(() => JSON.parse(sessionStorage.getItem("turns"))) ?? [];
await meet();
show();
text.focus();
