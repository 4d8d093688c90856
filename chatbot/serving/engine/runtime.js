/** ONNX Runtime in this browser: its script and its WebAssembly, from beside the page or from their public host. */

import { LoadError, download, messageOf } from "./download.js";

/**
 * @typedef {import("./download.js").Expected} Expected
 * @typedef {Expected & {url: string}} RuntimeFile
 * @typedef {{package: string, version: string, script: RuntimeFile, binary: RuntimeFile}} RuntimeFacts
 */

// a module of one function that makes a vector of 16 bytes: it is valid where WebAssembly has SIMD
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];

/** @throws {LoadError} this browser cannot run the network */
export function checkBrowser() {
  if (typeof WebAssembly !== "object") {
    throw new LoadError(
      "This browser has no WebAssembly, or it is switched off. The bot needs it: use a current Firefox, Chrome, " +
        "Edge or Safari, or switch WebAssembly on for this page.",
    );
  }
  if (!WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new LoadError("This browser is too old: its WebAssembly has no SIMD. Use a current one.");
  }
}

/**
 * @param {RuntimeFacts} facts
 * @param {URL} root where the page lies
 * @param {(bytes: number) => void} tell called with how many bytes have come
 * @returns {Promise<typeof import("onnxruntime-web")>}
 */
export async function openRuntime(facts, root, tell) {
  const [binary, runtime] = await Promise.all([
    download(new URL(facts.binary.url, root), facts.binary, tell),
    imported(new URL(facts.script.url, root), facts.script),
  ]);
  runtime.env.wasm.numThreads = 1; // more would need headers that a static host does not send
  runtime.env.wasm.proxy = false; // this is a worker already
  runtime.env.wasm.wasmBinary = binary.buffer;
  runtime.env.logLevel = "error";
  return runtime;
}

/**
 * @param {URL} url
 * @param {Expected} expected
 * @returns {Promise<typeof import("onnxruntime-web")>}
 */
async function imported(url, expected) {
  // `import` compares no digest, and does not say what is wrong: so the script is fetched and compared before
  const code = await download(url, expected);
  if (url.origin === self.location.origin) {
    return import(url.href).catch((error) => {
      throw new LoadError(`${url.pathname} did not come (${messageOf(error)}).`, true);
    });
  }
  const local = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return await import(local);
  } finally {
    URL.revokeObjectURL(local);
  }
}

/**
 * What to tell of an error while a network is opened or run.
 *
 * @param {unknown} error
 */
export function explained(error) {
  if (error instanceof LoadError) return error.message;
  const message = messageOf(error);
  const memory = error instanceof RangeError || /memory|allocat|bad_alloc/i.test(message);
  return memory ? `This browser has too little memory for the bot (${message}). Close other pages.` : message;
}
