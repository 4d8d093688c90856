// What the page talks to: an engine answers sentences. This one has the network in the visitor's own browser: a worker
// (engine/worker.js) loads it and answers. It takes the place of the page's `engine.js`, which asks a server.

/**
 * @typedef {import("../page/engine.js").Info} Info
 * @typedef {import("../page/engine.js").Options} Options
 * @typedef {import("../page/engine.js").Engine} Engine
 * @typedef {import("../page/engine.js").Reply} Reply
 * @typedef {import("../engine/facts.js").Decoding} Decoding
 *
 * @typedef {{decoding: Decoding, decodings: Record<Decoding["method"], Decoding>}} Decodings
 * @typedef {Decodings & {name: string, context: number, characters: number}} Loaded
 *
 * @typedef {object} Call what a message to the worker waits for
 * @property {(result: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {(message: {piece?: string, progress?: {loaded: number, total: number}}) => void} tell
 */

/** Why there is no reply, in a sentence for people. */
export class EngineError extends Error {
  /**
   * @param {"gone" | "key" | "busy" | "refused"} kind
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/**
 * @param {(share: number) => void} [progress] Told from 0 to 1 how much of the engine is loaded.
 * @returns {Engine & {check: () => Promise<{prompts: number, different: object[]}>}} `check` compares its replies with
 *   those that Python gave when the page was exported.
 */
export function createEngine(progress = () => {}) {
  keepForOffline();
  const calls = /** @type {Map<number, Call>} */ (new Map());
  let last = 0;
  let hopeless = false; // whether loading failed in a way that time does not mend
  /** @type {Worker | null} */
  let worker = null;
  /** @type {Promise<Loaded> | null} */
  let loading = null;

  function start() {
    const made = new Worker(new URL("engine/worker.js", document.baseURI), { type: "module" });
    made.addEventListener("message", ({ data: { id, result, error, temporary, ...told } }) => {
      const call = calls.get(id);
      if (error !== undefined) call?.reject(new EngineError(temporary ? "gone" : "refused", error));
      else if (result !== undefined) call?.resolve(result);
      else call?.tell(told);
      if (error !== undefined || result !== undefined) calls.delete(id);
    });
    made.addEventListener("error", (event) => {
      event.preventDefault();
      const message = `The bot could not be started here${event.message ? ` (${event.message})` : ""}.`;
      for (const call of calls.values()) call.reject(new EngineError("gone", message));
      calls.clear();
      made.terminate();
      worker = loading = null; // the next question starts it anew
    });
    return made;
  }

  /**
   * @param {object} message
   * @param {Call["tell"]} tell
   * @returns {{id: number, result: Promise<any>}}
   */
  function ask(message, tell = () => {}) {
    worker ??= start();
    const id = ++last;
    const result = new Promise((resolve, reject) => calls.set(id, { resolve, reject, tell }));
    worker.postMessage({ id, ...message });
    return { id, result };
  }

  function load() {
    loading ??= ask({ call: "load" }, ({ progress: so }) => so && progress(so.loaded / so.total)).result.catch((error) => {
      hopeless = error.kind === "refused";
      worker?.terminate(); // with what it still downloads, and with scripts whose import failed
      worker = loading = null;
      throw error;
    });
    return loading;
  }

  return {
    async info() {
      const { name, context, characters, decoding } = await load();
      progress(1);
      return { name, context, characters, decoding: described(decoding), methods: ["greedy", "beam", "sample"] };
    },

    async *stream(text, history, options, signal) {
      const how = chosen(await load(), options);
      signal.throwIfAborted();
      const pieces = /** @type {string[]} */ ([]);
      let wake = () => {};
      const { id, result } = ask({ call: "reply", text, earlier: history, decoding: how }, ({ piece }) => {
        if (piece !== undefined) pieces.push(piece);
        wake();
      });
      /** @type {import("../engine/bot.js").Reply | null} */
      let whole = null;
      /** @type {Error | null} */
      let failed = null;
      const give = () => {
        worker?.postMessage({ id, call: "cancel" });
        calls.delete(id);
        failed = new DOMException("stopped", "AbortError");
        wake();
      };
      signal.addEventListener("abort", give, { once: true });
      result.then(
        (reply) => ((whole = reply), wake()),
        (error) => ((failed ??= error), wake()),
      );
      try {
        for (;;) {
          if (failed) throw failed;
          while (pieces.length > 0) yield /** @type {string} */ (pieces.shift());
          if (whole) return found(whole);
          await new Promise((resolve) => (wake = () => resolve(undefined)));
        }
      } finally {
        signal.removeEventListener("abort", give);
      }
    },

    async alive() {
      if (hopeless) return false;
      return fetch("manifest.json").then(
        (response) => response.ok,
        () => false,
      );
    },

    async check() {
      await load();
      return ask({ call: "check" }).result;
    },
  };
}

/**
 * @param {import("../engine/bot.js").Reply} reply
 * @returns {Reply}
 */
function found({ text, unknown, prompt, read, said, attention }) {
  const weights = attention.map((row) => Array.from(row));
  return { reply: text, unknown, attention: prompt.length > 0 ? { read, said, weights } : null };
}

/**
 * The bot's own decoding with what was chosen; for another method, that one's plain form.
 *
 * @param {Decodings} known
 * @param {Options} options
 * @returns {Decoding}
 */
function chosen({ decoding, decodings }, { method, width = 5, temperature = 1, share = 1, seed = 1 }) {
  if (method === "default") return decoding;
  const base = method === decoding.method ? decoding : decodings[method];
  if (method === "beam") return { ...base, beam_width: width, length_penalty: 1 };
  return method === "sample" ? { ...base, temperature, top_p: share, seed: String(seed) } : base;
}

/** @param {Decoding} decoding */
function described({ method, beam_width: width, temperature }) {
  const more = { greedy: "", beam: `, ${width} side by side`, sample: `, temperature ${temperature}` };
  return method + more[method];
}

/** Browsers allow it over https and on this machine; elsewhere the page works, but not offline. */
function keepForOffline() {
  navigator.serviceWorker?.register("service-worker.js").catch(() => {});
}
