/**
 * The bot at work, beside the page and not in its way. The page asks by messages `{id, call, ...}` and gets
 * `{id, result}` or `{id, error}`, and before that, any number of times, `{id, progress}` or `{id, piece}`.
 *
 * @typedef {import("./facts.js").Decoding} Decoding
 * @typedef {{files: Record<string, import("./download.js").Expected>, runtime: import("./runtime.js").RuntimeFacts,
 *     golden: {text: string, reply: string}[]}} Manifest
 */

import { Bot } from "./bot.js";
import { LoadError, download, forget, messageOf } from "./download.js";
import { readFacts } from "./facts.js";
import { Network } from "./network.js";
import { checkBrowser, explained, openRuntime } from "./runtime.js";

const ROOT = new URL("..", import.meta.url);
const [MODEL, FACTS] = ["model.onnx", "bot.json"];

/** @type {Bot | null} */
let bot = null;
/** @type {unknown} */
let broken = null; // why the bot cannot answer, found before somebody asked
/** @type {Set<number>} */
const cancelled = new Set(); // ids of calls that nobody waits for any more
let current = 0; // the id of the call that is answered now
const WARM_UP = 0; // the id of a reply that nobody asked for

/**
 * @param {(progress: {loaded: number, total: number}) => void} tell
 */
async function load(tell) {
  checkBrowser();
  const { runtime, files } = /** @type {Manifest} */ (await json("manifest.json"));
  const total = files[MODEL].bytes + runtime.binary.bytes;
  const loaded = { model: 0, runtime: 0 };
  const more = () => tell({ loaded: loaded.model + loaded.runtime, total });
  const [ort, model, facts] = await Promise.all([
    // what takes longest first
    openRuntime(runtime, ROOT, (bytes) => {
      loaded.runtime = bytes;
      more();
    }),
    download(new URL(MODEL, ROOT), files[MODEL], (bytes) => {
      loaded.model = bytes;
      more();
    }),
    download(new URL(FACTS, ROOT), files[FACTS]).then((content) => readFacts(parsed(FACTS, content))),
  ]);
  bot = new Bot(facts, await Network.open(ort, model, facts));
  bot.search.pause = pause;
  await forget(ROOT, [files[MODEL].sha256, files[FACTS].sha256, runtime.binary.sha256, runtime.script.sha256]);
  return {
    name: facts.name,
    context: facts.context,
    decoding: facts.decoding,
    decodings: facts.decodings,
    characters: facts.text.maxCharacters,
  };
}

const { port1, port2 } = new MessageChannel();

/** Let messages come in between two steps, and give up what was cancelled. */
async function pause() {
  await new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  if (cancelled.has(current)) throw new Error("cancelled");
}

/** @param {string} name */
async function json(name) {
  let response;
  try {
    response = await fetch(new URL(name, ROOT));
  } catch (error) {
    throw new LoadError(`${name} did not come (${messageOf(error)}).`, true);
  }
  if (!response.ok) throw new LoadError(`${name} is missing: the server answers ${response.status}.`);
  return parsed(name, new Uint8Array(await response.arrayBuffer()));
}

/**
 * @param {string} name
 * @param {Uint8Array} content
 */
function parsed(name, content) {
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch (error) {
    throw new LoadError(`${name} is damaged (${messageOf(error)}).`);
  }
}

/**
 * Replies to the manifest's golden prompts that are not those of Python.
 *
 * @param {(progress: {loaded: number, total: number}) => void} tell
 */
async function check(tell) {
  const { golden } = /** @type {Manifest} */ (await json("manifest.json"));
  const different = [];
  for (const [number, { text, reply }] of golden.entries()) {
    const found = await opened().reply(text);
    if (found.text !== reply) different.push({ text, reply, found: found.text });
    tell({ loaded: number + 1, total: golden.length });
  }
  return { prompts: golden.length, different };
}

function opened() {
  if (broken) throw broken;
  if (!bot) throw new Error("the bot is not loaded yet");
  return bot;
}

/**
 * @param {{id: number, call: string, text: string, earlier: string[], decoding?: Decoding}} message
 */
async function answer({ id, call, text, earlier, decoding }) {
  /** @param {object} progress */
  const tell = (progress) => self.postMessage({ id, progress });
  switch (call) {
    case "load":
      return load(tell);
    case "check":
      return check(tell);
    case "reply":
      return opened().reply(text, earlier, decoding, (piece) => self.postMessage({ id, piece }));
    default:
      throw new Error(`no such call: ${call}`);
  }
}

/** @type {Promise<void>} */
let before = Promise.resolve(); // one after another: there is one thread

self.addEventListener("message", ({ data }) => {
  if (data.call === "cancel") {
    cancelled.add(data.id);
    return;
  }
  if (data.call !== "load") cancelled.add(WARM_UP);
  before = before.then(async () => {
    current = data.id;
    try {
      if (!cancelled.has(data.id)) self.postMessage({ id: data.id, result: await answer(data) });
    } catch (error) {
      self.postMessage({ id: data.id, error: explained(error), temporary: error instanceof LoadError && error.temporary });
    }
    cancelled.delete(data.id);
    if (data.call === "load" && bot) await warmUp(bot);
  });
});

/**
 * Find a reply before somebody asks, and give it up when somebody does: the first ones are slow, because code is compiled
 * while it runs.
 *
 * @param {Bot} bot
 */
async function warmUp(bot) {
  current = WARM_UP;
  try {
    if (!cancelled.has(WARM_UP)) await bot.reply("hello");
  } catch (error) {
    if (!cancelled.has(WARM_UP)) broken = error;
  }
  cancelled.delete(WARM_UP);
}
