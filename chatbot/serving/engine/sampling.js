/**
 * Drawing words by numbers that depend on the prompt and a seed (`chatbot.decoding.sampling`, which says why).
 */

/** @typedef {import("./facts.js").Decoding} Decoding */

const PRIME = 2147483647n;

/**
 * Where the random numbers of each reply to a prompt begin.
 *
 * @param {number[]} prompt its ids
 * @param {number} count replies
 * @param {string} seed in decimal
 * @returns {bigint[]}
 */
export function streams(prompt, count, seed) {
  let sum = 0n;
  for (const [place, id] of prompt.entries()) sum += mixed(mixed(BigInt(place + 1)) + (BigInt(id) % PRIME));
  let key = mixed(sum % PRIME);
  let rest = BigInt(seed);
  for (let part = 0; part < 3; part++) {
    key = mixed(key + (rest % PRIME)); // 31 bits of the seed at a time
    rest /= PRIME;
  }
  return Array.from({ length: count }, (_, number) => mixed(key + BigInt(number)));
}

/**
 * A permutation of 0 .. p - 1 that looks like chance.
 *
 * @param {bigint} x not negative
 */
function mixed(x) {
  let constant = 1n;
  for (let round = 0; round < 4; round++) {
    constant = (constant * 16807n) % PRIME;
    x = (x + constant) % PRIME;
    const square = (x * x) % PRIME;
    x = (((square * square) % PRIME) * x) % PRIME;
  }
  return x;
}

/**
 * A number between 0 and 1, neither included.
 *
 * @param {bigint} x
 */
export function uniform(x) {
  return (Number(mixed(x)) + 0.5) / Number(PRIME);
}

/**
 * Draw a word.
 *
 * @param {Float32Array} ranks (V,)
 * @param {number} u between 0 and 1
 * @param {Decoding} settings
 * @returns {number} its id
 */
export function draw(ranks, u, { temperature, top_k: topK, top_p: topP }) {
  const largest = ranks.reduce((most, rank) => Math.max(most, rank), -Infinity);
  const heat = Math.fround(temperature);
  const weights = ranks.map((rank) => Math.exp(Math.fround(Math.fround(rank - largest) / heat)));
  if (topK <= 0 && topP >= 1) {
    const cumulative = sums(weights);
    return inverse(cumulative, u * cumulative[cumulative.length - 1]);
  }
  const ids = [...weights.keys()].sort((one, other) => weights[other] - weights[one] || one - other);
  if (topK > 0) ids.length = Math.min(topK, ids.length);
  const kept = Float32Array.from(ids, (id) => weights[id]);
  const cumulative = sums(kept);
  const mass = topK > 0 ? cumulative[kept.length - 1] : weights.reduce((sum, weight) => sum + weight, 0);
  let inside = mass;
  if (topP < 1) {
    // a word is of the nucleus if those before it do not make it up alone
    inside = 0;
    for (const [place, sum] of cumulative.entries()) {
      if (sum - kept[place] < topP * mass) inside = Math.max(inside, sum);
    }
  }
  return ids[inverse(cumulative, u * inside)];
}

/** @param {Float32Array} weights */
function sums(weights) {
  let sum = 0;
  return Float64Array.from(weights, (weight) => (sum += weight));
}

/**
 * Where rising sums first are above a value; so never at a weight of 0.
 *
 * @param {Float64Array} cumulative
 * @param {number} value
 */
function inverse(cumulative, value) {
  const place = cumulative.findIndex((sum) => sum > value);
  return place < 0 ? cumulative.length - 1 : place;
}
