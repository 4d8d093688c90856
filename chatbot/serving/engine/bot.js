/** A bot: text in, text out (`chatbot.chat.bot`). */

import { beam } from "./beam.js";
import { fallingBack } from "./fallback.js";
import { mended } from "./mending.js";
import { draw, streams, uniform } from "./sampling.js";
import { Search } from "./search.js";
import { Text } from "./text.js";
import { SEP, Vocabulary } from "./vocabulary.js";

/**
 * @typedef {import("./facts.js").BotFacts} BotFacts
 * @typedef {import("./facts.js").Decoding} Decoding
 * @typedef {import("./search.js").Found} Found
 *
 * @typedef {object} Reply
 * @property {string} text
 * @property {number[]} prompt ids that the network read; none where the sentence has no word
 * @property {number[]} ids of the reply
 * @property {string[]} unknown words of the sentence that the bot never learnt
 * @property {string[]} read tokens of the prompt, S
 * @property {string[]} said tokens of the reply, T, the one that ends it among them
 * @property {Float32Array[]} attention (S,) for each of T
 * @property {number} logProb log p(reply | prompt) in nats
 */

export class Bot {
  /**
   * @param {BotFacts} facts
   * @param {import("./network.js").Network} network
   */
  constructor(facts, network) {
    this.facts = facts;
    this.words = new Text(facts.text);
    this.vocabulary = new Vocabulary(facts);
    this.search = new Search(network, facts);
  }

  /**
   * What the network reads of a sentence and of the turns before it; nothing where the sentence has no word.
   *
   * @param {string} text
   * @param {string[]} earlier turns, the bot's own among them
   */
  promptIds(text, earlier = []) {
    const { context, maxLength, special } = this.facts;
    const ids = this.vocabulary.encode(this.read(text));
    /** @type {number[]} */
    const before = [];
    for (const turn of context > 0 && ids.length > 0 ? earlier.slice(-context) : []) {
      const words = this.read(turn).slice(-maxLength);
      if (words.length > 0) before.push(...this.vocabulary.encode([...words, SEP]));
    }
    return [...(ids.length > 0 && special.voice !== null ? [special.voice] : []), ...before, ...ids];
  }

  /**
   * The words that are read of a sentence; unknown ones are mended if the bot does that.
   *
   * @param {string} text
   */
  read(text) {
    const words = this.words.lastWords(text);
    const { mending } = this.facts;
    const { ids } = this.vocabulary;
    if (mending === null) return words;
    const read = words.flatMap((word) => {
      if (ids.has(word)) return [word];
      return mended(word, ids, mending, this.words.unicode?.otherCapitals(word) ?? []);
    });
    return read.slice(-this.facts.text.maxWords);
  }

  /**
   * Ids as a person would write them.
   *
   * @param {number[]} ids
   */
  text(ids) {
    return this.words.written(this.vocabulary.decode(ids), this.facts.written);
  }

  /**
   * The reply to a sentence; "" where it has no word.
   *
   * @param {string} text
   * @param {string[]} earlier
   * @param {Decoding} decoding
   * @param {(piece: string) => void} tell called with each piece of the reply as soon as it is known
   * @returns {Promise<Reply>}
   */
  async reply(text, earlier = [], decoding = this.facts.decoding, tell = () => {}) {
    const prompt = this.promptIds(text, earlier);
    let told = "";
    /** @param {number[]} ids */
    const more = (ids) => {
      const whole = this.text(ids); // more words only ever add to the end of what stands already
      if (whole.length > told.length) tell(whole.slice(told.length));
      told = whole;
    };
    const best = prompt.length > 0 ? (await this.find(prompt, decoding, 1, more))[0] : null;
    if (best) more(best.ids);
    const attention = best?.attention ?? [];
    const end = this.vocabulary.tokens[this.facts.special.eos];
    const said = [...(best?.ids ?? []).map((id) => this.vocabulary.tokens[id]), ...(best?.ended ? [end] : [])];
    const read = prompt.map((id) => this.vocabulary.tokens[id]);
    while (attention.length > 0 && read.length < attention[0].length) read.push(end); // the tutorial's read it, too
    return {
      text: told,
      prompt,
      ids: best?.ids ?? [],
      unknown: this.vocabulary.unknown(this.read(text)),
      read,
      said,
      attention,
      logProb: best?.logProb ?? 0,
    };
  }

  /**
   * Replies to what the network reads, the best first.
   *
   * @param {number[]} prompt at least one id
   * @param {Decoding} decoding
   * @param {number} count how many are wanted of a beam; only the best alone gives way to a fallback
   * @param {(ids: number[]) => void} tell called after each word where the words are known before the end
   * @returns {Promise<Found[]>}
   */
  async find(prompt, decoding, count, tell = () => {}) {
    if (decoding.method === "beam") {
      const found = await beam(this.search, prompt, decoding, Math.min(count, decoding.beam_width));
      return count === 1 ? [await fallingBack(this.search, prompt, decoding, found[0])] : found;
    }
    if (decoding.method === "greedy") return [await this.follow(prompt, decoding, null, tell)];
    const found = [];
    for (const stream of streams(prompt, decoding.samples, decoding.seed)) {
      found.push(await this.follow(prompt, decoding, stream, decoding.samples === 1 ? tell : () => {}));
    }
    return found.sort((one, other) => other.total - one.total); // stable: equals stay in their order
  }

  /**
   * Greedy search, or one sample: word by word.
   *
   * @param {number[]} prompt
   * @param {Decoding} decoding
   * @param {bigint | null} stream where the random numbers begin; null takes the word of the highest rank
   * @param {(ids: number[]) => void} tell
   * @returns {Promise<Found>}
   */
  async follow(prompt, decoding, stream, tell) {
    let state = await this.search.read(prompt, decoding);
    /** @type {Found} */
    const found = { ids: [], ended: false, logProb: 0, total: 0, attention: [] };
    for (let step = 0; step < this.search.maxLength && !found.ended; step++) {
      const next = await this.search.step([found.ids], state, decoding);
      const id =
        stream === null ? highest(next.ranks) : draw(next.ranks, uniform(stream + BigInt(step)), decoding);
      state = next.state;
      found.logProb += next.scores[id];
      // greedy search ranks a reply by its scores, a sample by its ranks
      found.total += stream === null ? next.scores[id] : next.ranks[id];
      found.attention.push(next.attention[0]);
      found.ended = id === this.facts.special.eos;
      if (!found.ended) {
        found.ids.push(id);
        tell(found.ids);
      }
    }
    return found;
  }
}

/**
 * Where the highest rank is; of equal ones the lowest id.
 *
 * @param {Float32Array} ranks
 */
function highest(ranks) {
  let best = 0;
  for (let id = 1; id < ranks.length; id++) if (ranks[id] > ranks[best]) best = id;
  return best;
}
