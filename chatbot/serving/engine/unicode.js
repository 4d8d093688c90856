/**
 * Text of any language to words and back (`chatbot.corpus.unicode_tokenizer`, which says why), by the table that Python
 * wrote (`chatbot.corpus.characters`). A letter here is one code point.
 *
 * @typedef {object} UnicodeFacts
 * @property {boolean} cased whether words keep their capitals
 * @property {number[]} starts a letter has the kind of the last start that is not above its code point
 * @property {string[]} kinds
 * @property {Record<string, string>} folds letters that are not read as themselves
 * @property {Record<string, string>} pairs a letter and the mark behind it, and the one that stands for both
 * @property {Record<string, string>} titles small letters and their capitals
 */

const IN_WORDS = ["letter", "digit", "extending"];
const MARKS = ["hyphen", "closing", "opening", "quote", "wide", "free"];

export class UnicodeText {
  /** @param {UnicodeFacts} facts */
  constructor(facts) {
    this.facts = facts;
    this.folds = new Map(Object.entries(facts.folds));
    this.pairs = new Map(Object.entries(facts.pairs));
    this.titles = new Map(Object.entries(facts.titles));
    this.smalls = new Map(Array.from(this.titles, ([small, capital]) => [capital, small]));
  }

  /**
   * The words of text without mark-up.
   *
   * @param {string} text
   * @returns {string[]}
   */
  words(text) {
    const read = Array.from(text, (letter) => this.folds.get(letter) ?? letter).join("");
    const letters = this.composed(Array.from(read));
    const kinds = letters.map((letter) => this.kind(letter));
    const words = [];
    for (const [start, end] of wordEnds(letters, kinds)) {
      const word = letters.slice(start, end).join("");
      words.push(word === ".." ? "..." : word);
    }
    return words;
  }

  /**
   * Words with the spaces that their scripts put; where case is folded, sentences begin with a capital.
   *
   * @param {string[]} words
   * @param {Record<string, string>} written how words are written that are not in lower case
   */
  written(words, written) {
    let text = "";
    let [previous, before] = ["", "nothing"]; // the last word and its kind
    let [begins, opened, tight] = [true, false, true]; // a sentence begins; a quotation is open; no space comes next
    for (const word of words) {
      const kind = word === "" ? "nothing" : this.kind(word);
      const form = Object.hasOwn(written, word) ? written[word] : word;
      let attached =
        (kind === "closing" && before !== "nothing") ||
        (kind === "quote" && opened) ||
        kind === "character" ||
        kind === "wide" ||
        ((before === "character" || before === "wide") && kind !== "extending");
      const mark = MARKS.includes(kind);
      if (mark && (word.startsWith(previous) || previous.endsWith(word))) attached = false; // else they would be one
      if (text !== "" && !tight && !attached) text += " ";
      text += begins && !this.facts.cased && form === word ? this.titled(word) : form;
      tight = kind === "opening" || (kind === "quote" && !opened);
      if (kind === "quote") opened = !opened;
      if (!mark) begins = false;
      else if (word === "." || word === "!" || word === "?") begins = true;
      previous = word;
      before = kind === "nothing" ? "letter" : kind;
    }
    return text;
  }

  /**
   * A word in small letters, with a first capital, and all in capitals; nothing where words have no capitals.
   *
   * @param {string} word
   * @returns {string[]}
   */
  otherCapitals(word) {
    if (!this.facts.cased) return [];
    const low = Array.from(word, (letter) => this.smalls.get(letter) ?? letter).join("");
    return [low, this.titled(low), Array.from(low, (letter) => this.titles.get(letter) ?? letter).join("")];
  }

  /**
   * The kind of a text's first letter.
   *
   * @param {string} text not empty
   */
  kind(text) {
    const { starts, kinds } = this.facts;
    const code = /** @type {number} */ (text.codePointAt(0));
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= code) low = middle;
      else high = middle;
    }
    return kinds[low];
  }

  /** @param {string} word */
  titled(word) {
    const [first = ""] = word;
    return (this.titles.get(first) ?? first) + word.slice(first.length);
  }

  /**
   * Letters, of which each that can takes in the marks behind it.
   *
   * @param {string[]} letters
   */
  composed(letters) {
    /** @type {string[]} */
    const found = [];
    for (const letter of letters) {
      const last = found.at(-1);
      const both = last === undefined ? undefined : (hangul(last, letter) ?? this.pairs.get(last + letter));
      if (both === undefined) found.push(letter);
      else found[found.length - 1] = both;
    }
    return found;
  }
}

/**
 * The syllable that two parts of Hangul make.
 *
 * @param {string} one
 * @param {string} other
 * @returns {string | undefined}
 */
function hangul(one, other) {
  const [first, second] = [one.charCodeAt(0), other.charCodeAt(0)];
  if (0x1100 <= first && first < 0x1113 && 0x1161 <= second && second < 0x1176) {
    return String.fromCharCode(0xac00 + ((first - 0x1100) * 21 + second - 0x1161) * 28);
  }
  if (0xac00 <= first && first < 0xd7a4 && (first - 0xac00) % 28 === 0 && 0x11a8 <= second && second < 0x11c3) {
    return String.fromCharCode(first + second - 0x11a7);
  }
  return undefined;
}

/**
 * Where each word begins and ends.
 *
 * @param {string[]} letters
 * @param {string[]} kinds of the letters
 * @returns {[number, number][]}
 */
function wordEnds(letters, kinds) {
  /** @type {[number, number][]} */
  const found = [];
  let at = 0;
  while (at < letters.length) {
    const start = at;
    const kind = kinds[at++];
    if (IN_WORDS.includes(kind)) {
      at = endOfWord(letters, kinds, at);
    } else if (kind === "character") {
      while (at < letters.length && kinds[at] === "extending") at++;
    } else if (kind === "nothing" || kind === "joiner") {
      continue;
    } else {
      // a family is one emoji
      while (kind === "free" && at + 1 < letters.length && letters[at] === "\u200d" && kinds[at + 1] === "free") at += 2;
      if (at - start === 1) {
        let end = at;
        while (end < letters.length && letters[end] === letters[start]) end++;
        const dots = end > at && (letters[start] === "." || letters[start] === "…");
        found.push([start, dots ? start + 2 : at]);
        at = end;
        continue;
      }
    }
    found.push([start, at]);
  }
  return found;
}

/**
 * Where the word ends that has begun before `at`: joiners between letters are in it, and `:.,` between digits.
 *
 * @param {string[]} letters
 * @param {string[]} kinds
 * @param {number} at
 */
function endOfWord(letters, kinds, at) {
  while (at < letters.length) {
    const [kind, next] = [kinds[at], kinds[at + 1]];
    const joined = (kind === "joiner" || kind === "hyphen") && (next === "letter" || next === "digit");
    const number = ":.,".includes(letters[at]) && kinds[at - 1] === "digit" && next === "digit";
    if (IN_WORDS.includes(kind)) at++;
    else if (joined || number) at += 2;
    else break;
  }
  return at;
}
