/**
 * Large files: fetched with progress, compared with their digests, and kept for the next visit, also offline.
 *
 * @typedef {object} Expected
 * @property {number} bytes
 * @property {string} sha256 in hexadecimal
 * @property {string} [integrity] the same as `fetch` wants it
 *
 * @typedef {(bytes: number) => void} Tell called with how many bytes have come so far
 */

export const STORE = "chatbot-files"; // of this origin; what is in it is known by its digest

/** What keeps a bot from being loaded, in words for who visits the page. */
export class LoadError extends Error {
  /**
   * @param {string} message
   * @param {boolean} temporary whether it may go better a little later
   */
  constructor(message, temporary = false) {
    super(message);
    this.temporary = temporary;
  }
}

/**
 * The bytes of a file, from the browser's store or from its server.
 *
 * @param {URL} url
 * @param {Expected} expected
 * @param {Tell} tell
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {LoadError} it cannot be fetched, or is not what the manifest says
 */
export async function download(url, expected, tell = () => {}) {
  const store = await openStore();
  const key = `${url.href}?sha256=${expected.sha256}`;
  const kept = await store?.match(key);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    if ((await damage(bytes, expected)) === null) {
      tell(bytes.length);
      return bytes;
    }
    await store?.delete(key);
  }
  const bytes = await fetched(url, expected, tell);
  const wrong = await damage(bytes, expected);
  if (wrong !== null) throw new LoadError(`${nameOf(url)} is damaged, or of another export: ${wrong}.`);
  try {
    await store?.put(key, new Response(bytes));
  } catch {
    // the disk is full: the next visit fetches it again
  }
  return bytes;
}

/**
 * Forget what older exports at this place left in the store.
 *
 * @param {URL} root where the page lies
 * @param {string[]} digests of what is still wanted
 */
export async function forget(root, digests) {
  const store = await openStore();
  for (const request of (await store?.keys()) ?? []) {
    const url = new URL(request.url);
    const wanted = digests.includes(url.searchParams.get("sha256") ?? "");
    if (url.href.startsWith(root.href) && !wanted) await store?.delete(request);
  }
}

/** @returns {Promise<Cache | null>} null where the browser keeps nothing: plain http, or a private window */
async function openStore() {
  try {
    return await caches.open(STORE);
  } catch {
    return null;
  }
}

/**
 * @param {URL} url
 * @param {Expected} expected
 * @param {Tell} tell
 */
async function fetched(url, expected, tell) {
  // without `crypto.subtle` (plain http) the browser itself compares the digest, at the price of the progress
  const integrity = canDigest() ? undefined : expected.integrity;
  let response;
  try {
    response = await fetch(url, integrity ? { integrity } : {});
  } catch (error) {
    throw new LoadError(
      `${nameOf(url)} did not come from ${url.host}${integrity ? ", or is damaged" : ""} (${messageOf(error)}).`,
      true,
    );
  }
  if (!response.ok || !response.body) {
    throw new LoadError(`${nameOf(url)} did not come from ${url.host}: it answers ${response.status}.`);
  }
  const bytes = new Uint8Array(expected.bytes);
  let count = 0;
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const fits = value.subarray(0, bytes.length - Math.min(count, bytes.length));
      bytes.set(fits, Math.min(count, bytes.length));
      count += value.length;
      tell(Math.min(count, bytes.length));
    }
  } catch (error) {
    throw new LoadError(`${nameOf(url)} broke off after ${count} of ${expected.bytes} bytes (${messageOf(error)}).`, true);
  }
  if (count !== expected.bytes) {
    throw new LoadError(
      `${nameOf(url)} is damaged, or of another export: it has ${count} bytes, and ${expected.bytes} are expected.`,
    );
  }
  return bytes;
}

/**
 * What is wrong with some bytes, or null.
 *
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Expected} expected
 */
async function damage(bytes, expected) {
  if (bytes.length !== expected.bytes) return `it has ${bytes.length} bytes, and ${expected.bytes} are expected`;
  if (canDigest() && (await sha256(bytes)) !== expected.sha256) return "its SHA-256 is not the manifest's";
  return null;
}

function canDigest() {
  return globalThis.crypto?.subtle !== undefined;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {URL} url */
function nameOf(url) {
  return url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
