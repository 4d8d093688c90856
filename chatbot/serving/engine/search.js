/**
 * From a prompt's ids to what may be said next: what every search shares (`chatbot.decoding.search`), for one prompt.
 *
 * A word has two figures: its score is log p(word | prompt, words before); its rank is what a search goes by, minus
 * infinity where the word must not come. R rows are followed, V words known.
 *
 * @typedef {import("./facts.js").Decoding} Decoding
 * @typedef {import("./network.js").Network} Network
 * @typedef {import("./network.js").Memory} Memory
 *
 * @typedef {object} State where R rows stand, behind the prompt and (blank) behind the empty prompt
 * @property {Memory} given
 * @property {Float32Array} hidden (L, R, H)
 * @property {Memory | null} blank null where nobody asks it
 * @property {Float32Array} blankHidden (L, R, H), or empty
 * @property {number[]} turn what the bot said before the prompt, where it must not be said again
 *
 * @typedef {object} Next
 * @property {Float32Array} scores (R, V)
 * @property {Float32Array} ranks (R, V)
 * @property {Float32Array[]} attention over the prompt, one of (S,) for each row
 * @property {State} state after this step
 *
 * @typedef {object} Found a reply
 * @property {number[]} ids without the one that ends it
 * @property {boolean} ended whether it ends by itself, not because it is as long as one may be
 * @property {number} logProb log p(reply | prompt) in nats
 * @property {number} total what it was ranked by
 * @property {Float32Array[]} attention (S,) for each token, the one that ends it among them
 */

export class Search {
  /**
   * @param {Network} network
   * @param {import("./facts.js").BotFacts} facts
   */
  constructor(network, facts) {
    this.network = network;
    this.sos = facts.special.sos;
    this.eos = facts.special.eos;
    this.sep = facts.special.sep;
    this.neverReplied = facts.neverReplied;
    this.marks = facts.marks;
    this.size = facts.vocabulary.length;
    this.maxLength = facts.maxLength + 1; // of a reply in tokens, the one that ends it counted
    /** @type {() => Promise<void>} */
    this.pause = async () => {}; // called before each step; what it throws ends the search
    /** @type {{given: Memory, hidden: Float32Array} | null} */
    this.nothing = null; // the empty prompt, which is read once
  }

  /**
   * Read a prompt of at least one id.
   *
   * @param {number[]} ids
   * @param {Decoding} limits
   * @returns {Promise<State>} of one row
   */
  async read(ids, limits) {
    const { given, hidden } = await this.network.read(ids);
    const turn = limits.no_repeat_context_ngram > 0 ? this.turnBefore(ids) : [];
    if (limits.anti_lm === 0 || limits.anti_lm_tokens <= 0) {
      return { given, hidden, blank: null, blankHidden: new Float32Array(0), turn };
    }
    this.nothing ??= await this.network.read([this.eos]);
    return { given, hidden, blank: this.nothing.given, blankHidden: this.nothing.hidden, turn };
  }

  /**
   * Of a prompt the ids of the turn before the last `<sep>`.
   *
   * @param {number[]} ids
   */
  turnBefore(ids) {
    const end = this.sep === null ? -1 : ids.lastIndexOf(this.sep);
    return end < 0 ? [] : ids.slice(ids.slice(0, end).lastIndexOf(/** @type {number} */ (this.sep)) + 1, end);
  }

  /**
   * The state of some rows, in any order, also several times.
   *
   * @param {State} state
   * @param {number[]} rows
   * @returns {State}
   */
  pick(state, rows) {
    return {
      ...state,
      hidden: this.pickHidden(state.hidden, rows),
      blankHidden: this.pickHidden(state.blankHidden, rows),
    };
  }

  /**
   * @param {Float32Array} hidden (L, R, H)
   * @param {number[]} rows
   */
  pickHidden(hidden, rows) {
    const { layers, size } = this.network;
    if (hidden.length === 0) return hidden;
    const before = hidden.length / layers / size;
    const picked = new Float32Array(layers * rows.length * size);
    for (let layer = 0; layer < layers; layer++) {
      for (const [place, row] of rows.entries()) {
        const start = (layer * before + row) * size;
        picked.set(hidden.subarray(start, start + size), (layer * rows.length + place) * size);
      }
    }
    return picked;
  }

  /**
   * What may follow the last of `said`, or SOS where nothing is said yet.
   *
   * @param {number[][]} said R rows of equal length
   * @param {State} state
   * @param {Decoding} limits
   * @returns {Promise<Next>}
   */
  async step(said, state, limits) {
    await this.pause();
    const rows = said.length;
    const length = said[0].length;
    const tokens = said.map((ids) => ids.at(-1) ?? this.sos);
    const blank = length < limits.anti_lm_tokens ? state.blank : null;
    const penalised = limits.repetition_penalty !== 1;
    // rows behind the prompt and rows behind the empty one go through the network together: it is read only once
    const both = blank ? [...tokens, ...tokens] : tokens;
    const given = both.map((_, row) => (blank && row >= rows ? blank : state.given));
    const hidden = blank ? this.joined(state.hidden, state.blankHidden) : state.hidden;
    const found = await this.network.step(both, hidden, given, penalised);

    const scores = found.logProbs.subarray(0, rows * this.size);
    const ranks = scores.slice();
    if (penalised) this.penalise(ranks, found.logits, said, limits.repetition_penalty);
    if (blank) {
      const anyway = found.logProbs.subarray(rows * this.size);
      const least = limits.anti_lm_bound > 0 ? limits.anti_lm_bound : Infinity;
      const share = Math.fround(limits.anti_lm);
      for (let at = 0; at < ranks.length; at++) {
        ranks[at] -= Math.fround(share * Math.max(anyway[at], Math.fround(scores[at] - least)));
      }
    }
    for (const [row, ids] of said.entries()) {
      this.forbid(ranks.subarray(row * this.size, (row + 1) * this.size), ids, state.turn, limits);
    }
    const wide = found.attention.length / both.length;
    const first = tokens.map((_, row) => row);
    return {
      scores,
      ranks,
      attention: first.map((row) => found.attention.slice(row * wide, row * wide + state.given.length)),
      state: {
        ...state,
        hidden: blank ? this.pickHidden(found.hidden, first) : found.hidden,
        blankHidden: blank ? this.pickHidden(found.hidden, first.map((row) => row + rows)) : state.blankHidden,
      },
    };
  }

  /**
   * Rows (L, R, H) and rows (L, R', H) as (L, R + R', H).
   *
   * @param {Float32Array} one
   * @param {Float32Array} other
   */
  joined(one, other) {
    const { layers } = this.network;
    const [a, b] = [one.length / layers, other.length / layers];
    const all = new Float32Array(one.length + other.length);
    for (let layer = 0; layer < layers; layer++) {
      all.set(one.subarray(layer * a, (layer + 1) * a), layer * (a + b));
      all.set(other.subarray(layer * b, (layer + 1) * b), layer * (a + b) + a);
    }
    return all;
  }

  /**
   * Ranks anew, from logits in which a word that was said is divided by the penalty, or multiplied if it is negative.
   *
   * @param {Float32Array} ranks (R, V), written
   * @param {Float32Array} logits (R, V) and what follows
   * @param {number[][]} said
   * @param {number} penalty
   */
  penalise(ranks, logits, said, penalty) {
    for (const [row, ids] of said.entries()) {
      const of = ranks.subarray(row * this.size, (row + 1) * this.size);
      of.set(logits.subarray(row * this.size, (row + 1) * this.size));
      for (const id of new Set(ids)) of[id] = of[id] > 0 ? of[id] / penalty : of[id] * penalty;
      let largest = -Infinity;
      for (const logit of of) largest = Math.max(largest, logit);
      let sum = 0;
      for (const logit of of) sum += Math.exp(logit - largest);
      const log = largest + Math.log(sum);
      for (let id = 0; id < of.length; id++) of[id] -= log;
    }
  }

  /**
   * Put minus infinity where a word must not follow.
   *
   * @param {Float32Array} ranks (V,) of one row
   * @param {number[]} said
   * @param {number[]} turn of the bot, before the prompt
   * @param {Decoding} limits
   */
  forbid(ranks, said, turn, limits) {
    for (const id of this.neverReplied) ranks[id] = -Infinity;
    if (limits.tidy_marks && (said.length === 0 || this.marks.includes(/** @type {number} */ (said.at(-1))))) {
      for (const id of this.marks) ranks[id] = -Infinity;
    }
    this.barRepeats(ranks, said, said, limits.no_repeat_ngram);
    this.barRepeats(ranks, said, turn, limits.no_repeat_context_ngram);
    if (said.length < limits.min_length) {
      const end = ranks[this.eos];
      ranks[this.eos] = -Infinity;
      // where no word is left, the reply must end all the same
      if (ranks.every((rank) => rank === -Infinity)) ranks[this.eos] = end;
    }
  }

  /**
   * Put minus infinity where a word behind `said` would end n words that stand side by side in `among`.
   *
   * @param {Float32Array} ranks (V,) of one row
   * @param {number[]} said
   * @param {number[]} among
   * @param {number} n 0 bars nothing
   */
  barRepeats(ranks, said, among, n) {
    const last = said.slice(said.length - n + 1);
    for (let start = 0; n > 0 && n - 1 <= said.length && start + n <= among.length; start++) {
      if (last.every((id, place) => among[start + place] === id)) ranks[among[start + n - 1]] = -Infinity;
    }
  }
}
