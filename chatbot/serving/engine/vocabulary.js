/** Words to ids and back, as `chatbot.corpus.vocabulary` numbers them. */

/** @typedef {import("./facts.js").BotFacts} BotFacts */

export const SEP = "<sep>"; // the token behind a turn of context

export class Vocabulary {
  /** @param {BotFacts} facts */
  constructor(facts) {
    this.tokens = facts.vocabulary;
    this.ids = new Map(facts.vocabulary.map((token, id) => [token, id]));
    this.special = facts.special;
    this.numSpecial = facts.numSpecial;
  }

  /**
   * Ids of words. An unknown word becomes `<unk>`, or is left out if the vocabulary has none.
   *
   * @param {string[]} words
   */
  encode(words) {
    const ids = [];
    for (const word of words) {
      const id = this.ids.get(word) ?? this.special.unk;
      if (id !== null) ids.push(id);
    }
    return ids;
  }

  /**
   * Words of ids up to the first `<eos>`, without special tokens.
   *
   * @param {number[]} ids
   */
  decode(ids) {
    const end = ids.indexOf(this.special.eos);
    const said = end < 0 ? ids : ids.slice(0, end);
    return said.filter((id) => id >= this.numSpecial).map((id) => this.tokens[id]);
  }

  /**
   * The words that are not in the vocabulary, each once, in order.
   *
   * @param {string[]} words
   */
  unknown(words) {
    return [...new Set(words.filter((word) => !this.ids.has(word)))];
  }
}
