/**
 * What is said where no reply that a beam found is likely enough (`chatbot.decoding.fallback`).
 *
 * @typedef {import("./facts.js").Decoding} Decoding
 * @typedef {import("./search.js").Found} Found
 */

import { penalty } from "./beam.js";

/**
 * The best reply of a beam, or the likeliest fallback if its words are too unlikely.
 *
 * @param {import("./search.js").Search} search
 * @param {number[]} prompt at least one id
 * @param {Decoding} settings
 * @param {Found} found
 * @returns {Promise<Found>}
 */
export async function fallingBack(search, prompt, settings, found) {
  const replies = settings.fallback.filter((reply) => reply.length <= search.maxLength);
  const confidence = Math.exp(found.logProb / found.attention.length);
  if (replies.length === 0 || confidence >= settings.min_confidence) return found;

  const steps = Math.max(...replies.map((reply) => reply.length));
  // of a beam's settings, its anti-LM and its length penalty rank them too; the rest is for what is searched
  const limits = { ...settings, min_length: 0, no_repeat_ngram: 0, no_repeat_context_ngram: 0, tidy_marks: false, repetition_penalty: 1 };
  let state = await search.read(prompt, limits);
  state = search.pick(state, replies.map(() => 0));
  /** @type {Found[]} */
  const all = replies.map((reply) => ({
    ids: reply.slice(0, -1),
    ended: true,
    logProb: 0,
    total: 0,
    attention: [],
  }));
  for (let step = 0; step < steps; step++) {
    // behind its end a reply goes on with that, and nobody looks
    const said = replies.map((reply) => Array.from({ length: step }, (_, at) => reply[Math.min(at, reply.length - 1)]));
    const next = await search.step(said, state, limits);
    state = next.state;
    for (const [row, reply] of replies.entries()) {
      if (step >= reply.length) continue;
      all[row].logProb += next.scores[row * search.size + reply[step]];
      all[row].total += next.ranks[row * search.size + reply[step]];
      all[row].attention.push(next.attention[row]);
    }
  }
  // one that stands in the prompt, as what the bot said a turn before does, comes after all others
  const value = (/** @type {Found} */ { ids, total, attention }) =>
    total / penalty(attention.length, settings.length_penalty) - (standsIn(prompt, ids) ? 1e5 : 0);
  return { ...all.reduce((best, one) => (value(one) > value(best) ? one : best)), total: found.total };
}

/**
 * Whether words stand side by side in a prompt.
 *
 * @param {number[]} prompt
 * @param {number[]} words
 */
function standsIn(prompt, words) {
  return prompt.some((_, start) => words.every((id, place) => prompt[start + place] === id));
}
