/** Text to words and back, by the tables that Python wrote: the same words as `chatbot.corpus.tokenizer` finds. */

import { UnicodeText } from "./unicode.js";

/** @typedef {import("./facts.js").TextFacts} TextFacts */

const LOWER = "abcdefghijklmnopqrstuvwxyz";

export class Text {
  /** @param {TextFacts} facts */
  constructor(facts) {
    this.facts = facts;
    this.markup = facts.markup === null ? null : new RegExp(facts.markup, "g");
    this.runs = facts.runs.map(([found, instead]) => /** @type {const} */ ([new RegExp(found, "g"), instead]));
    this.word = facts.word === null ? null : new RegExp(facts.word, "g");
    this.contractions = new Set(facts.contractions);
    this.unicode = facts.unicode === null ? null : new UnicodeText(facts.unicode);
  }

  /**
   * The words that are read of a prompt: at most the last 100, of its last 10,000 code points.
   *
   * @param {string} text
   */
  lastWords(text) {
    const { maxCharacters, maxWords } = this.facts;
    // no code point has more than two units, so the last ones lie whole in these
    const end = Array.from(text.slice(-2 * maxCharacters)).slice(-maxCharacters).join("");
    return this.words(end).slice(-maxWords);
  }

  /**
   * The words of any text, possibly none.
   *
   * @param {string} text
   * @returns {string[]}
   */
  words(text) {
    if (this.markup) text = text.replace(this.markup, " ");
    if (this.unicode) return this.unicode.words(text);
    const words = [];
    for (let run of this.folded(text).split(" ")) {
      for (const [found, instead] of this.runs) run = run.replace(found, instead);
      if (this.word) words.push(...(run.match(this.word) ?? []));
      else if (run) words.push(run);
    }
    return words;
  }

  /**
   * Text as it is read: each character by itself.
   *
   * @param {string} text
   */
  folded(text) {
    const { ascii, folds } = this.facts;
    let read = "";
    for (const character of text) {
      const code = /** @type {number} */ (character.codePointAt(0));
      read += code < 128 ? ascii[code] : (folds[character] ?? " ");
    }
    return read;
  }

  /**
   * Words as a person would write them (`english_text` in Python).
   *
   * @param {string[]} words
   * @param {Record<string, string>} written how words are written that are not in lower case
   */
  written(words, written) {
    if (this.unicode) return this.unicode.written(words, written);
    if (!this.facts.english) return words.join(" ");
    let text = "";
    let previous = "."; // as if a sentence had just ended
    for (const [place, word] of words.entries()) {
      const mark =
        word === "," || word === "!" || word === "?" || ((word === "." || word === "...") && !previous.endsWith("."));
      if (place > 0 && (mark || this.contractions.has(word))) {
        text += word;
      } else {
        let spelt = Object.hasOwn(written, word) ? written[word] : word;
        const begins = previous === "." || previous === "!" || previous === "?";
        if (spelt === word && (begins || word === "i" || word.startsWith("i'")) && LOWER.includes(word.charAt(0))) {
          spelt = word.charAt(0).toUpperCase() + word.slice(1);
        }
        text += place > 0 ? ` ${spelt}` : spelt;
      }
      previous = word;
    }
    return text;
  }
}
