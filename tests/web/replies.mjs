/**
 * Answer prompts with an exported page's engine, in Node. Arguments: the page's folder, that of onnxruntime-web's files.
 * From stdin one JSON value: a list of `{text, earlier?, decoding?}`; to stdout a list of what `Bot.reply` returns.
 */

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [page, dist] = process.argv.slice(2).map((folder) => path.resolve(folder));
/** @param {string} file */
const load = (file) => import(pathToFileURL(file).href);
const runtime = await load(path.join(dist, "ort.wasm.bundle.min.mjs"));
const { Bot } = await load(path.join(page, "engine/bot.js"));
const { Network } = await load(path.join(page, "engine/network.js"));

runtime.env.wasm.numThreads = 1;
runtime.env.wasm.wasmBinary = fs.readFileSync(path.join(dist, "ort-wasm-simd-threaded.wasm"));
const facts = JSON.parse(fs.readFileSync(path.join(page, "bot.json"), "utf-8"));
const network = await Network.open(runtime, new Uint8Array(fs.readFileSync(path.join(page, "model.onnx"))), facts);
const bot = new Bot(facts, network);
const found = [];
for (const { text, earlier, decoding } of JSON.parse(fs.readFileSync(0, "utf-8"))) {
  const start = performance.now();
  const reply = await bot.reply(text, earlier, { ...facts.decoding, ...decoding });
  found.push({ ...reply, attention: reply.attention.map((row) => [...row]), milliseconds: performance.now() - start });
}
process.stdout.write(JSON.stringify(found));
