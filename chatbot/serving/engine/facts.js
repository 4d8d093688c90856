/**
 * What `chatbot export --web` tells of a bot, in `bot.json`. Python writes every table from its own code; nothing of
 * it is written a second time here.
 *
 * @typedef {object} TextFacts how text becomes words, and words text
 * @property {string} tokenizer its name in Python
 * @property {string[]} ascii what each of the 128 characters of ASCII is read as
 * @property {Record<string, string>} folds the same for other characters; one that is missing is read as a space
 * @property {string | null} markup a regular expression: each match becomes a space, before characters are folded
 * @property {[string, string][]} runs regular expressions and what takes the place of their matches, in a run of
 *     characters without a space
 * @property {string | null} word a regular expression whose matches in a run are the words; null: a run is a word
 * @property {boolean} english whether words are written as English, or only put between spaces
 * @property {string[]} contractions words that are written right behind the word before
 * @property {import("./unicode.js").UnicodeFacts | null} unicode where the tokenizer is `unicode` or `unicode-cased`; then
 *     of the entries above only `markup` is read
 * @property {number} maxCharacters only so many last code points of a text are read
 * @property {number} maxWords and of these only so many last words
 *
 * @typedef {object} Decoding how a reply is found: the settings of Python's `DecodingConfig`, under the same names (but
 *     that `fallback` is ids here, not texts)
 * @property {"greedy" | "beam" | "sample"} method
 * @property {number} beam_width
 * @property {number} beam_threshold
 * @property {number} length_penalty
 * @property {number} min_confidence
 * @property {number[][]} fallback ids of replies, EOS at each end
 * @property {number} samples
 * @property {number} temperature
 * @property {number} top_k
 * @property {number} top_p
 * @property {string} seed in decimal: it may have 63 bits
 * @property {number} min_length
 * @property {number} no_repeat_ngram
 * @property {number} no_repeat_context_ngram
 * @property {boolean} tidy_marks
 * @property {number} repetition_penalty
 * @property {number} anti_lm
 * @property {number} anti_lm_tokens
 * @property {number} anti_lm_bound
 *
 * @typedef {object} BotFacts
 * @property {number} format
 * @property {string} name of the run
 * @property {string[]} vocabulary tokens in order of their ids
 * @property {Record<string, string>} written how tokens are written that are not in lower case
 * @property {{pad: number, sos: number, eos: number, unk: number | null, sep: number | null, voice: number | null}} special
 *     ids by name
 * @property {number} numSpecial words begin at this id
 * @property {number[]} neverReplied ids that no reply holds
 * @property {number[]} marks ids of punctuation marks
 * @property {number} maxLength of a reply in words
 * @property {number} context so many turns before a sentence are read, too
 * @property {number} hiddenSize
 * @property {number} decoderLayers
 * @property {Decoding} decoding the run's own
 * @property {Record<"greedy" | "beam" | "sample", Decoding>} decodings each method's plain form
 * @property {TextFacts} text
 * @property {import("./mending.js").MendingFacts | null} mending null: unknown words stay unknown
 */

export const BOT_FORMAT = 3;

/**
 * @param {unknown} data what `bot.json` holds
 * @returns {BotFacts}
 * @throws {Error} it is of another version
 */
export function readFacts(data) {
  const facts = /** @type {BotFacts} */ (data);
  if (facts?.format !== BOT_FORMAT) {
    throw new Error(`bot.json has format ${facts?.format}, this page reads ${BOT_FORMAT}: export again`);
  }
  return facts;
}
