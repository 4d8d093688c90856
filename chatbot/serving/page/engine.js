// What the page talks to: an engine answers sentences. This one asks the server that the page came from.
//
// The page (conversation.js) knows the few types below and nothing else, so another engine, such as one that runs the
// network in the browser itself, takes this one's place by a file of the same name with the same two exports.

/**
 * @typedef {object} Info What the bot is.
 * @property {string} name
 * @property {number} context How many turns before a sentence the bot reads.
 * @property {number} characters The longest sentence that is taken, in characters.
 * @property {string} decoding How it finds replies by default, in a few words.
 * @property {string[]} methods The other ways that it can be asked for: of "greedy", "beam", "sample".
 */

/**
 * @typedef {object} Options How a reply is found.
 * @property {"default" | "greedy" | "beam" | "sample"} method
 * @property {number} [width] Of a beam: replies that are followed side by side.
 * @property {number} [temperature] Of a sample: below 1 likely words get likelier.
 * @property {number} [share] Of a sample: only from the likeliest words that have this share together (top-p).
 * @property {number} [seed] Of a sample: the same seed, sentence and turns give the same reply.
 */

/**
 * @typedef {object} Attention Which words a reply looked at.
 * @property {string[]} read The S words that the bot read, turns before among them.
 * @property {string[]} said The T words that it said, "<eos>" the last.
 * @property {number[][]} weights T rows of S numbers from 0 to 1; each row adds up to 1.
 */

/**
 * @typedef {object} Reply A whole reply.
 * @property {string} reply Its text; empty where the sentence has no word.
 * @property {string[]} unknown Words of the sentence that the bot never learnt.
 * @property {Attention | null} attention
 */

/**
 * @typedef {object} Engine
 * @property {() => Promise<Info>} info What the bot is; resolves when it can be talked to.
 * @property {(text: string, history: string[], options: Options, signal: AbortSignal) => AsyncGenerator<string, Reply>} stream
 *   The reply to a sentence in pieces, as they are found; it returns the whole. `history` has the turns before, the
 *   bot's own among them, the newest last. `signal` ends it. Both throw an `EngineError`.
 * @property {() => Promise<boolean>} alive Whether it would answer now.
 * @property {((key: string) => void)} [useKey] Answers as somebody who has this key; where engines have none, absent.
 */

/** Why there is no reply, in a sentence for people. */
export class EngineError extends Error {
  /**
   * @param {"gone" | "key" | "busy" | "refused"} kind gone: nobody answers; key: a key is missing or wrong; busy: ask
   *   again in a moment; refused: the sentence will never be answered as it is.
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/**
 * @param {(share: number) => void} [progress] Told from 0 to 1 how much of the engine is loaded; this one needs no time.
 * @returns {Engine}
 */
export function createEngine(progress) {
  progress?.(1);
  let key = sessionStorage.getItem("key") ?? "";

  /** @param {string} path @param {RequestInit} [how] */
  async function ask(path, how = {}) {
    // no key has others (chatbot serve refuses them), and no header carries them
    if (/[^ -~]/.test(key)) throw new EngineError("key", "A key is of ASCII's visible characters.");
    const headers = { ...how.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...how, headers });
    } catch (error) {
      if (how.signal?.aborted) throw error;
      throw new EngineError("gone", "The server does not answer.");
    }
    if (!response.ok) throw refusal(response.status, await response.json().catch(() => ({})));
    return response;
  }

  return {
    async info() {
      const { decoding, ...about } = await (await ask("info")).json();
      return { ...about, decoding: described(decoding) };
    },

    async *stream(text, history, options, signal) {
      const body = JSON.stringify({ text, history, decoding: settings(options), stream: true, attention: true });
      const how = { method: "POST", headers: { "content-type": "application/json" }, body, signal };
      for await (const event of events(await ask("reply", how), signal)) {
        if (event.error) throw refusal(503, event);
        if (event.reply !== undefined) return event;
        yield event.piece;
      }
      throw new EngineError("gone", "The server went away in the middle of the reply.");
    },

    async alive() {
      return fetch("readyz").then((response) => response.ok, () => false);
    },

    useKey(given) {
      key = given;
      sessionStorage.setItem("key", given);
    },
  };
}

/** The JSON objects of a stream of server-sent events. @param {Response} response @param {AbortSignal} signal */
async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new EngineError("gone", "The server went away in the middle of the reply.");
    }
    if (part.done) return;
    const parts = (text + part.value).split("\n\n");
    text = parts.pop();
    for (const event of parts) yield JSON.parse(event.slice("data: ".length));
  }
}

function refusal(status, { error }) {
  const kind = status === 401 ? "key" : status === 429 || status === 503 ? "busy" : "refused";
  return new EngineError(kind, error?.message ?? `The server says ${status}.`);
}

/** @param {Options} options */
function settings({ method, width, temperature, share, seed }) {
  if (method === "beam") return { method, beam_width: width, length_penalty: 1 };
  if (method === "sample") return { method, temperature, top_p: share, seed };
  return method === "greedy" ? { method } : {};
}

function described(decoding) {
  const more = { beam: `, ${decoding.beam_width} side by side`, sample: `, temperature ${decoding.temperature}` };
  return decoding.method + (more[decoding.method] ?? "");
}
