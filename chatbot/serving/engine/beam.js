/**
 * Beam search for one prompt (`chatbot.decoding.beam`, which says why): the same replies in the same order.
 *
 * @typedef {import("./search.js").Search} Search
 * @typedef {import("./search.js").Found} Found
 * @typedef {import("./facts.js").Decoding} Decoding
 *
 * @typedef {object} Hypothesis one that lives, or the last step of one that ended
 * @property {Hypothesis | null} before what it continues
 * @property {number} id its last word
 * @property {number} score of that word
 * @property {number} total of all ranks so far
 * @property {Float32Array | null} attention of that word
 */

/**
 * The best replies, the best first.
 *
 * @param {Search} search
 * @param {number[]} prompt at least one id
 * @param {Decoding} settings
 * @param {number} count how many are wanted, at most the width; fewer may let the search end sooner
 * @returns {Promise<Found[]>}
 */
export async function beam(search, prompt, settings, count) {
  const { beam_width: width, beam_threshold: threshold, length_penalty: alpha } = settings;
  const longest = search.maxLength;
  /** @type {{value: number, last: Hypothesis}[]} */
  let best = [];
  /** @type {Hypothesis[]} */
  let live = [{ before: null, id: search.sos, score: 0, total: 0, attention: null }];
  /** @type {number[][]} */
  let said = [[]];
  let state = await search.read(prompt, settings);
  for (let length = 1; length <= longest && live.length > 0; length++) {
    const next = await search.step(said, state, settings);
    state = next.state;
    const taken = continuations(next.ranks, live, search.size, width);
    const hypotheses = taken.map(({ row, id, total }) => ({
      before: live[row],
      id,
      score: next.scores[row * search.size + id],
      total,
      attention: next.attention[row],
    }));
    for (const last of hypotheses) {
      const value = last.total / penalty(length, alpha);
      // one that is cut is no whole sentence: it comes after all that ended, by more nats than any reply has
      if (last.id === search.eos) best.push({ value, last });
      else if (length === longest) best.push({ value: value - 1e5, last });
    }
    best = best.sort((one, other) => other.value - one.value).slice(0, count); // stable: of equals the earlier

    // what cannot come among the best any more is not followed; without a row the search ends
    const least = best.length < count ? -Infinity : best[count - 1].value;
    const leading = hypotheses.find(({ id }) => id !== search.eos); // the best that lives
    const bar = threshold > 0 && count === 1 && leading ? leading.total - threshold : -Infinity;
    const on = hypotheses.flatMap((last, place) =>
      last.id !== search.eos && last.total >= bar && hope(last.total, length, longest, settings) > least ? [place] : [],
    );
    const rows = on.map((place) => taken[place].row);
    said = on.map((place) => [...said[taken[place].row], taken[place].id]);
    state = search.pick(state, rows);
    live = on.map((place) => hypotheses[place]);
  }
  return best.map(({ value, last }) => traced(last, value, search.eos));
}

/**
 * The most that a total of so many words can become, divided by its penalty (`chatbot.decoding.beam` has the proof).
 *
 * @param {number} total
 * @param {number} length
 * @param {number} longest
 * @param {Decoding} settings
 */
function hope(total, length, longest, settings) {
  const { length_penalty: alpha, anti_lm: share, anti_lm_bound: bound, repetition_penalty: repetition } = settings;
  const rising = share > 0 ? Math.min(settings.anti_lm_tokens, longest) : 0; // words that may add to a total
  // a rank, a difference of floats, may be a little above what it would be exactly
  const gain = bound > 0 && share <= 1 && repetition === 1 ? share * bound + 1e-4 : Infinity;
  let most = -Infinity;
  for (let end = length + 1; end <= longest; end++) {
    const more = Math.min(end, rising) - length;
    most = Math.max(most, (total + (more > 0 ? more * gain : 0)) / penalty(end, alpha));
  }
  return most;
}

/**
 * Wu et al. 2016.
 *
 * @param {number} length
 * @param {number} alpha
 */
export function penalty(length, alpha) {
  return ((5 + length) / 6) ** alpha;
}

/**
 * The best continuations of all that lives: of equals that of the earlier hypothesis, then the lower id.
 *
 * @param {Float32Array} ranks (R, V)
 * @param {Hypothesis[]} live R
 * @param {number} size V
 * @param {number} count
 */
function continuations(ranks, live, size, count) {
  /** @type {{row: number, id: number, total: number}[]} */
  const found = []; // the best first
  let least = -Infinity;
  for (const [row, { total }] of live.entries()) {
    for (let id = 0; id < size; id++) {
      const value = total + ranks[row * size + id];
      if (!(value > least)) continue;
      let place = found.length;
      while (place > 0 && found[place - 1].total < value) place--;
      found.splice(place, 0, { row, id, total: value });
      if (found.length > count) found.pop();
      if (found.length === count) least = found[count - 1].total;
    }
  }
  return found;
}

/**
 * A reply from its last token back to its first.
 *
 * @param {Hypothesis} last
 * @param {number} total
 * @param {number} eos
 * @returns {Found}
 */
function traced(last, total, eos) {
  /** @type {Hypothesis[]} */
  const path = [];
  for (let at = last; at.before; at = at.before) path.unshift(at);
  return {
    ids: path.map(({ id }) => id).filter((id) => id !== eos),
    ended: last.id === eos,
    logProb: path.reduce((sum, { score }) => sum + score, 0),
    total,
    attention: path.map(({ attention }) => /** @type {Float32Array} */ (attention)),
  };
}
