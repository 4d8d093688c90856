/**
 * Has the page work without a network after the first visit. This worker keeps the page's small files, all of one
 * version; the network and its runtime, which are large, are kept by `engine/download.js`.
 */

const VERSION = "development"; // the export writes the folder's version here, so that a new one is seen as new
const here = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const PREFIX = `chatbot-page ${here.registration.scope} `;
const LARGE = /\.(onnx|wasm)$/;

here.addEventListener("install", (event) => event.waitUntil(install()));
here.addEventListener("activate", (event) => event.waitUntil(activate()));
here.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(here.registration.scope)) event.respondWith(answer(event.request));
});

/** Keep every small file, but only if all of them are of this version: else the browser tries again another time. */
async function install() {
  const response = await fetch("manifest.json", { cache: "no-store" });
  const manifest = await response.clone().json();
  if (manifest.version !== VERSION) throw new Error(`the manifest is of version ${manifest.version}, not ${VERSION}`);
  const cache = await caches.open(PREFIX + VERSION);
  await cache.put("manifest.json", response);
  const names = Object.keys(manifest.files).filter((name) => !LARGE.test(name) && name !== "service-worker.js");
  await Promise.all(names.map((name) => keep(cache, name, manifest.files[name].sha256)));
  await here.skipWaiting();
}

/**
 * @param {Cache} cache
 * @param {string} name
 * @param {string} sha256
 */
async function keep(cache, name, sha256) {
  const response = await fetch(name, { cache: "no-store" });
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.clone().arrayBuffer()));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Error(`${name} is not the file that the manifest describes`);
  await cache.put(name, response);
}

/** Older versions at this place are no longer wanted. */
async function activate() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== PREFIX + VERSION);
  await Promise.all(old.map((name) => caches.delete(name)));
  await here.clients.claim();
}

/**
 * What is kept, else what the server has. The folder itself is its index.html.
 *
 * @param {Request} request
 */
async function answer(request) {
  const cache = await caches.open(PREFIX + VERSION);
  const index = request.url.split(/[?#]/)[0] === here.registration.scope;
  const kept = await cache.match(index ? "index.html" : request, { ignoreSearch: true });
  return kept ?? fetch(request);
}
