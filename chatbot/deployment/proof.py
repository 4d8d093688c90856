"""Proof that an exported file answers like the model it was made from; nothing is exported without it.

Both exports compare greedy replies: to each of the checkpoint's prompts alone, and to all in one batch. What
TorchScript does besides (beams, samples, text) is compared by `prove_bundle`.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..corpus.mending import Spellings
from ..corpus.tokenizer import last_words
from ..corpus.vocabulary import EOS_ID, SOS_ID
from ..decoding.generate import Decoding
from ..decoding.limits import Limits
from ..decoding.search import GreedySearchDecoder, Sampling, SearchResult
from ..network.batch import pad_prompts
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint
from ..system.errors import ChatbotError
from .manifest import Golden

SCORE_TOLERANCE = 1e-4  # nats
LEAST_EQUAL = 0.8  # of the tokens that int8 finds: below that something is wrong with the model or with the file
GOLDEN_PROMPTS = 16  # of a checkpoint's own prompts, beside the hard texts
# texts that clients in other languages are most likely to read differently
HARD_TEXTS = (
    "",
    " \t ",
    "?!",
    "Hello.",
    "hello, HELLO; hello...",
    "What's up? I'm fine, don't worry.",
    "Où êtes-vous, Zoë? Ça va!",
    "naïve café, ﬁne ½ Ⅳ １２３ ｆｕｌｌ",
    "\U0001f600 hi \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "你好，世界",
    "привет мир",
    "xqzzy wvvkk qqjjq",
    "<i>Really</i>? It’s 5:30... 3.14, 2nd",
    "e\u0301 a\u0308 \u1100\u1161\u11a8 \u200b\u00ad",
    "how are you " * 100,
    "hellooo, hwo r u? i dont knwo, pls tlel me",
    "a" * 12_000,
)

Search = Callable[[Tensor, Tensor, int], SearchResult]  # src (B, S), src_lengths (B,), max_length
Reply = tuple[list[int], list[float]]  # tokens up to EOS, and their scores in nats


@dataclass(frozen=True)
class Proof:
    """What was compared, and how well the file that was read back agrees with the model.

    prompts: how many; shortest, longest: their lengths in words. tokens: of the replies (of two that differ the longer
    counts); equal: those that are the same in both. golden: texts whose replies are the same.
    largest_score_difference: in nats, of equal tokens that follow equal tokens only.
    """

    prompts: int
    shortest: int
    longest: int
    tokens: int
    equal: int
    golden: int
    largest_score_difference: float

    def __str__(self) -> str:
        return (
            f"{self.prompts} prompts of {self.shortest} to {self.longest} words, each alone and all in one batch: "
            f"{self.equal} of {self.tokens} reply tokens equal, scores within {self.largest_score_difference:.1g}"
            + (f"; beams and samples of all, and {self.golden} golden texts" if self.golden else "")
        )


@torch.no_grad()
def prove(checkpoint: Checkpoint, model: Seq2Seq, searches: Sequence[Search], *, quantized: bool = False) -> Proof:
    """Compare the greedy replies of an exported file with those of the model.

    Args:
        searches: every way in which the file can do greedy search.
        quantized: the file rounds what the model does not; then most tokens have to be equal, otherwise all.

    Raises:
        ChatbotError: too many tokens differ, or scores differ by more than SCORE_TOLERANCE.
    """
    eager = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    prompts, compared = prompts_of(checkpoint), list[tuple[list[int], Reply, Reply]]()
    for group in [*([prompt] for prompt in prompts), prompts]:
        given = (*pad_prompts(group), checkpoint.config.corpus.max_length + 1)
        wanted = replies(eager(*given))
        for search in searches:
            compared += zip(group, wanted, replies(search(*given)), strict=True)
    tokens, equal, difference = agreement((ours, theirs) for _, ours, theirs in compared)
    if quantized and equal < LEAST_EQUAL * tokens:
        raise ChatbotError(f"not exported: in int8 only {equal} of {tokens} tokens are the model's")
    for prompt, ours, theirs in [] if quantized else compared:
        if not same_but_for_ties(model, prompt, ours[0], theirs[0]):
            raise ChatbotError(f"not exported: the file answers {prompt} otherwise than the model does")
    if not quantized and difference > SCORE_TOLERANCE:
        raise ChatbotError(f"not exported: the file's scores are {difference:.2g} away from the model's")
    lengths = [len(prompt) for prompt in prompts]
    return Proof(len(prompts), min(lengths), max(lengths), tokens, equal, 0, difference)


@torch.no_grad()
def prove_bundle(checkpoint: Checkpoint, model: Seq2Seq, module: Any, golden: Sequence[Golden]) -> Proof:
    """Compare a scripted `BundleModule` with the model: greedy search, beam search, sampling, and replies to texts.

    Raises:
        ChatbotError: they differ. Both run the same kernels, so not even equally likely words may be exchanged.
    """
    proof = prove(checkpoint, model, [module.greedy_batch])
    eager = _decoding(model.encoder, model.decoder, checkpoint)
    longest = checkpoint.config.corpus.max_length + 1
    anti_lm: Any = {"anti_lm": 0.4, "anti_lm_tokens": 3, "anti_lm_bound": 1.0}
    repeats: Any = {"no_repeat_ngram": 2, "no_repeat_context_ngram": 1, "repetition_penalty": 1.2}
    limits = Limits(longest, min_length=1, tidy_marks=True, **repeats, **anti_lm)  # one of each kind
    given = (*pad_prompts(prompts_of(checkpoint)), limits)
    beam = {"width": 4, "count": 4, "length_penalty": 0.6, "threshold": 2.0}
    sampling = {"count": 2, "seed": 7, "sampling": Sampling(temperature=0.9, top_k=40, top_p=0.95)}
    same = proof.equal == proof.tokens
    for ours, theirs, settings in ((eager.beam, module.beam, beam), (eager.sampling, module.sampling, sampling)):
        same = same and torch.equal(ours(*given, **settings).tokens, theirs(*given, **settings).tokens)
    if not same:
        raise ChatbotError("not exported: the file answers otherwise than the model does")
    for row in golden:
        for said, wanted in ((module.reply(row.text), row.reply), (module.reply_greedy(row.text), row.greedy)):
            if said != wanted:
                raise ChatbotError(f"not exported: to {row.text[:40]!r} the file says {said!r}, the model {wanted!r}")
    return replace(proof, golden=len(golden))


def golden_replies(encoder: nn.Module, decoder: nn.Module, checkpoint: Checkpoint) -> list[Golden]:
    """What a network, by its two calls, answers to the hard texts, and to some of the checkpoint's prompts."""
    vocabulary, tokenizer, settings = checkpoint.vocabulary, checkpoint.tokenizer, checkpoint.config.decoding
    prompts = checkpoint.prompts[:: max(1, len(checkpoint.prompts) // GOLDEN_PROMPTS)][:GOLDEN_PROMPTS]
    decode = _decoding(encoder, decoder, checkpoint)
    spellings = Spellings.of(vocabulary, tokenizer) if checkpoint.config.corpus.mend_words else None
    golden = []
    for text in [*HARD_TEXTS, *(tokenizer.detokenize(vocabulary.decode(ids), vocabulary.written) for ids in prompts)]:
        words = last_words(tokenizer, text)
        ids = vocabulary.voiced(vocabulary.encode(spellings.read(words) if spellings else words))
        longest = checkpoint.config.corpus.max_length + 1
        tokens, scores = replies(decode.greedy(*pad_prompts([ids]), longest))[0] if ids else ([], [])
        own = decode([ids], settings, longest, count=1)[0][0].ids
        said, greedy = (tokenizer.detokenize(vocabulary.decode(found), vocabulary.written) for found in (own, tokens))
        golden.append(Golden(text, ids, tokens, scores, said, greedy))
    return golden


def _decoding(encoder: nn.Module, decoder: nn.Module, checkpoint: Checkpoint) -> Decoding:
    never, words = checkpoint.never_replied, checkpoint.vocabulary
    return Decoding(encoder, decoder, never, torch.device("cpu"), words.marks, checkpoint.fallback_ids, words.sep_id)


def prompts_of(checkpoint: Checkpoint) -> list[list[int]]:
    """The checkpoint's prompts; in place of one without words an EOS, since a search needs something to read."""
    return [prompt or [EOS_ID] for prompt in checkpoint.prompts]


def replies(found: SearchResult) -> list[Reply]:
    """Each row's tokens, EOS being the last, and their scores."""
    rows = [tokens[: tokens.index(EOS_ID) + 1] if EOS_ID in tokens else tokens for tokens in found.tokens.tolist()]
    return [(row, scores[: len(row)]) for row, scores in zip(rows, found.scores.tolist(), strict=True)]


def agreement(pairs: Iterable[tuple[Reply, Reply]]) -> tuple[int, int, float]:
    """Tokens, equal tokens and the largest difference of scores, counted as `Proof` describes."""
    tokens, equal, largest = 0, 0, 0.0
    for ours, theirs in pairs:
        tokens += max(len(ours[0]), len(theirs[0]))
        equal += sum(map(int.__eq__, ours[0], theirs[0]))
        # behind the first other token the two continue different replies, and their scores say nothing of each other
        start = _equal_start(ours[0], theirs[0])
        largest = max([largest, *(abs(a - b) for a, b in zip(ours[1][:start], theirs[1][:start], strict=True))])
    return tokens, equal, largest


def same_but_for_ties(model: Seq2Seq, prompt: list[int], ours: list[int], theirs: list[int]) -> bool:
    """Whether two replies are equal up to where the model finds two words equally likely, but for rounding."""
    if ours == theirs:
        return True
    first = _equal_start(ours, theirs)
    src, src_lengths = pad_prompts([prompt])
    logits = model(src, src_lengths, torch.tensor([[SOS_ID, *ours[:first]]]), torch.tensor([first + 1]))
    a, b = logits[-1, [ours[first], theirs[first]]].tolist()
    return abs(a - b) <= SCORE_TOLERANCE


def _equal_start(ours: list[int], theirs: list[int]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
