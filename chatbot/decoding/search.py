"""From a prompt's ids to a reply's: what every search shares, and greedy search. Scriptable modules.

Shapes as in `model`: B batch, S source length, T reply length, V vocabulary; R rows that are worked on side by side (B
or several for each prompt), t tokens said so far. The modules know the network by its two calls only, so they run on
the eager parts and on the traced ones:

    encoder(src (B, S), src_lengths (B,)) -> memory (B, S, H), source (B, S), hidden (L, B, H)
    decoder(tokens (B, 1), hidden, memory, source) -> logits (B, 1, V), hidden, weights (B, 1, S)

A word has two figures. Its *score* is log p(word | prompt, words before), as the network says; results report it. Its
*rank* is what the search goes by: the score, changed by what `Limits` asks for, minus infinity where the word must not
come.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..corpus.vocabulary import PAD_ID, SOS_ID
from .limits import LimitedDecoder, Limits
from .tensors import distinct, precise, widened


class Sampling(NamedTuple):
    """What words are drawn by (see sampling.py); greedy search reads none of it. The defaults keep every word.

    temperature: above 0; below 1 likely words get likelier, near 0 the reply becomes the greedy one.
    top_k: only the likeliest k words; 0 is all. top_p: above 0, the likeliest words with this probability together.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class SearchResult(NamedTuple):
    """What a search found for B prompts.

    tokens: (B, T) int64, each row ended by EOS (unless `max_length` cut it) and then padded with PAD.
    scores: (B, T) log-probability of each token, 0 at padding.
    attention: (B, T, S) weights over the prompt, 0 at padding; (B, T, S + 1) where the encoder reads EOS behind each.
    """

    tokens: Tensor
    scores: Tensor
    attention: Tensor


class Hypotheses(NamedTuple):
    """What a search found that has several replies, N, to each of B prompts.

    tokens, scores, attention: (B, N, T), (B, N, T), (B, N, T, S), as in `SearchResult`.
    totals: (B, N) what the search ranks them by, in double precision; minus infinity where there is no such reply.
    """

    tokens: Tensor
    scores: Tensor
    totals: Tensor
    attention: Tensor


class State(NamedTuple):
    """Where R rows stand: what the decoder goes on from.

    hidden (L, R, H). prompt (R,) int64: which of the P rows that the encoder read each is behind.
    memories (P, S, H), sources (P, S): of those; where the empty prompt is asked too, it is the last.
    turns (P, .): what the bot said before those prompts, as `turns_before` finds it, where it must not be said again.
    empty (L, E, H), shares (R,) int64: behind the empty prompt rows that said the same are one; E states, and which of
        them each of the R rows has. E is 0 where the empty prompt is not asked, and not read once it has no say.
    memory, source: what the decoder read last, one for each of its rows; none at first, and once others are picked.
    """

    hidden: Tensor
    prompt: Tensor
    memories: Tensor
    sources: Tensor
    empty: Tensor
    shares: Tensor
    turns: Tensor
    memory: Tensor | None = None
    source: Tensor | None = None


class SearchDecoder(LimitedDecoder):
    """What every search shares: reading the prompts, one step of the decoder.

    Args:
        encoder, decoder: the network's parts, in eval mode, eager or traced.
        never_replied, marks, sep_id: as of a `LimitedDecoder`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        never_replied: list[int],
        marks: Sequence[int] = (),
        sep_id: int | None = None,
    ) -> None:
        super().__init__(never_replied, marks, sep_id)
        self.encoder, self.decoder = encoder, decoder
        self.sos_id, self.pad_id = SOS_ID, PAD_ID

    def read(self, src: Tensor, src_lengths: Tensor, limits: Limits) -> State:
        """Encode src (B, S), rows in any order, with src_lengths (B,); S is then the longest of the lengths."""
        batch, lengths = src.size(0), src_lengths.cpu()
        turns = src[:, :0]
        # on a CPU it costs little to see that nothing was said before; a GPU would be waited for
        if limits.no_repeat_context_ngram > 0 and (src.device.type != "cpu" or bool((src == self.sep_id).any())):
            turns = self.turns_before(src)
        if limits.anti_lm != 0.0 and limits.anti_lm_tokens > 0:  # one empty prompt, for all of the B
            nothing = torch.full_like(src[:1], self.pad_id)
            nothing[:, 0] = self.eos_id
            src, lengths = torch.cat((src, nothing)), torch.cat((lengths, torch.ones_like(lengths[:1])))
        # the packed encoder wants the longest prompt first and no column of padding only
        lengths, order = lengths.sort(descending=True, stable=True)
        rows = order.argsort().to(src.device)
        memory, source, hidden = self.encoder(src.index_select(0, order.to(src.device))[:, : int(lengths[0])], lengths)
        hidden, prompt = hidden.index_select(1, rows), torch.arange(batch, device=src.device)
        memories, sources = memory.index_select(0, rows), source.index_select(0, rows)
        return State(hidden[:, :batch], prompt, memories, sources, hidden[:, batch:], torch.zeros_like(prompt), turns)

    def pick(self, state: State, rows: Tensor) -> State:
        """The state of those `rows` (int64, any number of the R, in any order, also several times)."""
        hidden, prompt, memories, sources, empty, shares, turns, memory, source = state
        before, prompt = prompt, prompt.index_select(0, rows)
        if not torch.equal(prompt, before):  # a beam mostly goes on with as many rows behind the same prompts
            memory, source = None, None
        hidden, shares = hidden.index_select(1, rows), shares.index_select(0, rows)
        return State(hidden, prompt, memories, sources, empty, shares, turns, memory, source)

    def step(self, token: Tensor, said: Tensor, state: State, limits: Limits) -> tuple[Tensor, Tensor, Tensor, State]:
        """What may follow `token` (R, 1), the last of `said` (R, t), or SOS where nothing is said yet (t = 0).

        Returns:
            log_probs (R, V) log p(word | prompt, words before), only to be read where a word may come;
            ranked (R, V) what to choose by, minus infinity where a word must not come;
            weights (R, S) over the prompt; the state after `token`.
        """
        rows, words, behind = token.size(0), token, state.prompt
        hidden, prompt, memories, sources, empty, shares, turns, memory, source = state
        asks = empty.size(1) > 0 and said.size(1) < limits.anti_lm_tokens  # later the empty prompt has no say any more
        if asks:
            parents, others, shares = shares, token, torch.arange(rows, device=token.device)
            # a beam's replies to one prompt differ; and a GPU would be waited for
            if memories.size(0) > 2 and token.device.type == "cpu":
                parents, others, shares = distinct(parents, token, shares)
            words, hidden = torch.cat((token, others)), torch.cat((hidden, empty.index_select(1, parents)), dim=1)
            behind = torch.cat((prompt, torch.full_like(parents, memories.size(0) - 1)))
        if memory is None or source is None or memory.size(0) != behind.size(0):
            memory, source = memories.index_select(0, behind), sources.index_select(0, behind)
        logits, hidden, weights = self.decoder(words, hidden.contiguous(), memory, source)
        logits = logits.select(1, 0).float()  # in TorchScript [:, 0] is two operators
        # (R, V) is large: where nobody needs what was there before, it is written over, not beside
        penalised = limits.repetition_penalty != 1.0
        both = torch.log_softmax(logits, dim=-1) if penalised else torch.log_softmax(logits, dim=-1, out=logits)
        log_probs = both[:rows]
        ranked = log_probs
        if penalised:
            before = logits[:rows].gather(1, said)
            after = torch.where(before > 0, before / limits.repetition_penalty, before * limits.repetition_penalty)
            ranked = torch.log_softmax(logits[:rows].scatter(1, said, after), dim=-1)
        if asks:
            anyway = both[rows:] if both.size(0) == 2 * rows else both[rows:].index_select(0, shares)
            more = torch.sub(log_probs, anyway, out=anyway)  # by how much the prompt makes each word likelier
            if limits.anti_lm_bound > 0.0:
                more = more.clamp_max_(limits.anti_lm_bound)
            change = ranked - log_probs if penalised else None
            # log p - lambda * (log p - more), of finite numbers
            ranked = torch.lerp(log_probs, more, limits.anti_lm, out=more)
            if change is not None:
                ranked = ranked.add_(change)
        self.forbid(ranked, said, turns.index_select(0, prompt), limits)
        if asks:
            weights, hidden, empty = weights[:rows], hidden[:, :rows], hidden[:, rows:]
        state = State(hidden, prompt, memories, sources, empty, shares, turns, memory, source)
        return log_probs, ranked, weights.select(1, 0), state

    def choose(self, ranked: Tensor, streams: Tensor, step: int, sampling: Sampling) -> Tensor:
        """The word (R, 1) that each row goes on with: of the highest rank, of equal ones the lowest id.

        Args:
            ranked: (R, V), of `step`. streams: (R,) int64, where the random numbers of each row begin.
        """
        return ranked.max(dim=-1, keepdim=True)[1]  # on a CPU argmax takes three times as long

    def follow(
        self, src: Tensor, src_lengths: Tensor, limits: Limits, streams: Tensor, sampling: Sampling
    ) -> Hypotheses:
        """Greedy search and sampling: go on word by word, by `choose`, until all `streams` (B * N,) have ended.

        The N replies to a prompt stand together; their totals are sums of ranks.
        """
        batch, rows_in_all, longest, device = src.size(0), streams.size(0), limits.max_length, src.device
        state = self.read(src, src_lengths, limits)
        if rows_in_all > batch:
            state = self.pick(state, torch.arange(batch, device=device).repeat_interleave(rows_in_all // batch))
        rows = torch.arange(rows_in_all, device=device)  # that have not ended, as of the last look
        token = torch.full((rows_in_all, 1), self.sos_id, dtype=torch.int64, device=device)
        said = token[:, :0]
        steps, looks_every = 0, self.steps_between_looks(src)
        # what each step found, put into its place once all is said: for one prompt that takes longer than a product
        which, words, looked = [rows[:0]], [token[:0]], [state.memories[:0, :, 0]]
        figures_of_words = [torch.zeros(0, 2, device=device)]
        while steps < longest and rows.size(0) > 0:
            log_probs, ranked, weights, state = self.step(token, said, state, limits)
            token = self.choose(ranked, streams, steps, sampling)  # (R, 1)
            which.append(rows)
            words.append(token)
            figures_of_words.append(torch.cat((log_probs.gather(1, token), ranked.gather(1, token)), dim=1))
            looked.append(weights)
            said = torch.cat((said, token), dim=1)
            steps += 1
            if steps % looks_every == 0:
                goes_on = (said[:, steps - looks_every :] != self.eos_id).all(dim=1)
                if not bool(goes_on.all()):
                    on = goes_on.nonzero().squeeze(1)
                    rows, token, said, state = rows[on], token[on], said[on], self.pick(state, on)
                    streams = streams[on]
        tokens = torch.full((rows_in_all, steps), self.pad_id, dtype=torch.int64, device=device)
        figures = torch.zeros(rows_in_all, steps, 2, device=device)  # scores and ranks
        memory = state.memories
        attention = torch.zeros(rows_in_all, steps, memory.size(1), dtype=memory.dtype, device=device)
        rows = torch.cat(which)
        times = torch.tensor([some.size(0) for some in which[1:]], dtype=torch.int64)
        when = torch.arange(steps).repeat_interleave(times).to(device)
        tokens[rows, when] = torch.cat(words).squeeze(1)
        figures[rows, when] = torch.cat(figures_of_words)
        attention[rows, when] = torch.cat(looked).to(attention.dtype)
        if looks_every > 1:  # what was said behind an EOS before somebody looked is forgotten
            ends = tokens == self.eos_id
            beyond = (ends.cumsum(dim=1) - ends.long()) > 0
            steps = int((~beyond).any(dim=0).sum())
            tokens = tokens.masked_fill(beyond, self.pad_id)
            figures = figures.masked_fill(beyond.unsqueeze(2), 0.0)
            attention = attention.masked_fill(beyond.unsqueeze(2), 0.0)
        return Hypotheses(
            tokens[:, :steps].unflatten(0, [batch, -1]),
            figures[:, :steps, 0].unflatten(0, [batch, -1]),
            precise(figures[:, :, 1]).sum(dim=1).view(batch, -1),
            widened(attention[:, :steps], src, src_lengths).unflatten(0, [batch, -1]),
        )

    def steps_between_looks(self, src: Tensor) -> int:
        """After how many steps `follow` looks which replies have ended.

        On a CPU that is every step, for what has ended need not be worked on. A GPU would be waited for each time.
        """
        return 4 if src.is_cuda else 1


class GreedySearchDecoder(SearchDecoder):
    """Take the word of the highest rank at every step."""

    def forward(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """Answer B prompts: src (B, S) int64 padded with PAD, rows in any order, src_lengths (B,) each from 1 to S."""
        return self.search(src, src_lengths, Limits(max_length))

    def search(self, src: Tensor, src_lengths: Tensor, limits: Limits) -> SearchResult:
        """Answer them within `limits`."""
        found = self.follow(src, src_lengths, limits, torch.zeros_like(src[:, 0]), Sampling())
        return SearchResult(found.tokens[:, 0], found.scores[:, 0], found.attention[:, 0])
