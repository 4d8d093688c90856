/**
 * Unknown words are read as the known ones that they are slips of (`chatbot.corpus.mending`, which says in which order
 * what is tried), by tables that Python wrote.
 *
 * @typedef {object} MendingFacts
 * @property {number} first the frequent words, to which an edit may lead, have the ids from this one
 * @property {number} end to the one before this
 * @property {string[]} alphabet the letters that frequent words have
 * @property {Record<string, string[]>} short words, and the ways to write each: known words with spaces between them
 * @property {Record<string, string>} plain frequent words by how they are written without accents
 */

/**
 * The known words that an unknown word is read as; the word itself where there are none.
 *
 * @param {string} word
 * @param {Map<string, number>} ids of all words
 * @param {MendingFacts} facts
 * @param {string[]} cases the word in other capitals, where words have such
 * @returns {string[]}
 */
export function mended(word, ids, { first, end, alphabet, short, plain }, cases) {
  for (const way of Object.hasOwn(short, word) ? short[word] : []) {
    const words = way.split(" ");
    if (words.every((one) => ids.has(one))) return words;
  }
  for (const spelling of cases) if (ids.has(spelling)) return [spelling];
  if (Object.hasOwn(plain, word)) return [plain[word]];
  const letters = Array.from(word);
  for (const spelling of withFewerLetters(letters)) if (ids.has(spelling)) return [spelling];
  let best = end;
  let nearest = word;
  if (letters.length >= 3 && letters.length <= 24) {
    for (const spelling of oneEditAway(letters, alphabet)) {
      const id = ids.get(spelling) ?? end;
      if (first <= id && id < best) [best, nearest] = [id, spelling];
    }
  }
  return [nearest];
}

/**
 * Spellings in which a letter that stands three times or more in a row stands there twice, or once.
 *
 * @param {string[]} letters
 * @returns {string[]}
 */
function withFewerLetters(letters) {
  /** @type {{letter: string, count: number}[]} */
  const runs = [];
  for (const letter of letters) {
    const last = runs.at(-1);
    if (last?.letter === letter) last.count++;
    else runs.push({ letter, count: 1 });
  }
  const many = runs.filter(({ count }) => count > 2).length;
  const ways = many === 0 ? 0 : many <= 4 ? 2 ** many : 2;
  const found = [];
  for (let way = 0; way < ways; way++) {
    let run = 0; // of the long ones; with up to four the bits of `way` are those that are cut to one letter
    const short = () => (many <= 4 ? (way >> run++) & 1 : way);
    found.push(runs.map(({ letter, count }) => letter.repeat(count > 2 ? 2 - short() : count)).join(""));
  }
  return found;
}

/**
 * All spellings that are one edit away and keep the first letter, or exchange it with the second.
 *
 * @param {string[]} letters
 * @param {string[]} alphabet
 */
function* oneEditAway(letters, alphabet) {
  /** @param {number} start @param {number} [stop] */
  const part = (start, stop) => letters.slice(start, stop).join("");
  for (const at of letters.keys()) {
    if (at + 1 < letters.length) yield part(0, at) + letters[at + 1] + letters[at] + part(at + 2);
    if (at > 0 && letters.length > 3) {
      yield part(0, at) + part(at + 1);
      for (const letter of alphabet) yield part(0, at) + letter + part(at + 1);
    }
    for (const letter of alphabet) yield part(0, at + 1) + letter + part(at + 1);
  }
}
