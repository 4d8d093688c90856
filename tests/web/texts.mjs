/**
 * The page's handling of text in Node. Argument: the folder of the engine. From stdin `{facts, texts, sentences}`: what
 * bot.json says of text, texts to cut, lists of words to write. To stdout `{words, written, blocks, capitals}`: words of each
 * text, each word in other capitals where a tokenizer has such, each sentence as text, and of every 4,096 code points from 0 on the SHA-256 of the words in `BLOCK` of them.
 */

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { Text } = await import(pathToFileURL(path.resolve(process.argv[2], "text.js")).href);
const { facts, written, texts, sentences } = JSON.parse(fs.readFileSync(0, "utf-8"));
const text = new Text(facts);
const blocks = [];
for (let start = 0; start <= 0x10ffff; start += 4096) {
  const parts = [];
  for (let code = start; code < start + 4096; code++) {
    const character = String.fromCodePoint(code);
    parts.push(`${character}a${character} b${character}b`);
  }
  blocks.push(createHash("sha256").update(text.words(parts.join(" ")).join(" ")).digest("hex"));
}
const words = texts.map((/** @type {string} */ one) => text.lastWords(one));
const capitals = Object.fromEntries(words.flat().map((/** @type {string} */ one) => [one, text.unicode?.otherCapitals(one)]));
const sentencesAsText = sentences.map((/** @type {string[]} */ one) => text.written(one, written));
process.stdout.write(JSON.stringify({ words, written: sentencesAsText, blocks, capitals }));
