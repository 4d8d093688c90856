"""Search in plain Python, one word of one sentence at a time: what the searches are compared with."""

import itertools
import math
import random
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from chatbot.config.settings import ModelConfig
from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from chatbot.decoding.limits import Limits
from chatbot.network.model import Seq2Seq

NEVER = [PAD_ID, SOS_ID, 3]
MARKS = [4]  # ids that stand for punctuation marks
SEP = 3  # stands behind a turn before the prompt
Said = tuple[int, ...]

LIMITS = {
    "plain": Limits(7),
    "min_length": Limits(7, min_length=3),
    "unigrams": Limits(7, no_repeat_ngram=1),
    "bigrams": Limits(7, no_repeat_ngram=2),
    "trigrams": Limits(7, no_repeat_ngram=3),
    "repetition": Limits(7, repetition_penalty=1.4),
    "anti_lm": Limits(7, anti_lm=0.6, anti_lm_tokens=3),
    "anti_lm_bound": Limits(7, anti_lm=0.9, anti_lm_tokens=3, anti_lm_bound=0.4),
    "tidy_marks": Limits(7, tidy_marks=True),
    "context": Limits(7, no_repeat_context_ngram=1),
    "context_bigrams": Limits(7, no_repeat_context_ngram=2),
    "everything": Limits(7, 2, 2, True, 1.2, 0.4, 20, 0.7, 1),
}


def network(vocabulary_size: int, seed: int = 2) -> Seq2Seq:
    """An untrained network, but far from uniform: prompts make a difference, and replies end at different steps."""
    torch.manual_seed(seed)
    sizes = ModelConfig(hidden_size=9, embedding_size=5, decoder_layers=1, tie_embeddings=False)
    made = Seq2Seq(sizes, vocabulary_size).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if any(part in name for part in ("gru", "bridge", "concat")):
                parameter.mul_(2)
        made.decoder.out.weight.mul_(4)
        made.decoder.out.bias[EOS_ID] += 0.5
    return made.requires_grad_(False)


class Table(nn.Module):
    """A network of two calls whose words depend on nothing but the word before: row i of `logits` is what follows i."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def encoder(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros(*src.shape, 1), src, torch.zeros(1, len(src), 1)

    def decoder(self, tokens: Tensor, hidden: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        real = source != PAD_ID
        return self.logits[tokens], hidden, real.unsqueeze(1) / real.sum(1)[:, None, None]

    def parts(self) -> tuple["Call", "Call"]:
        return Call(self.encoder), Call(self.decoder)


class TwoTables(nn.Module):
    """As `Table`, but behind the empty prompt, a single EOS, it goes by the table `blank`."""

    def __init__(self, prompted: Tensor, blank: Tensor) -> None:
        super().__init__()
        self.prompted, self.blank = Table(prompted), Table(blank)

    def decoder(self, tokens: Tensor, hidden: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        asked, decoder = (table.decoder(tokens, hidden, memory, source) for table in (self.prompted, self.blank))
        empty = (source[:, 0] == EOS_ID)[:, None, None]
        return torch.where(empty, decoder[0], asked[0]), hidden, asked[2]

    def parts(self) -> tuple["Call", "Call"]:
        return Call(self.prompted.encoder), Call(self.decoder)


class Call(nn.Module):
    """A function as a module, which counts its calls, and the rows of all."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function, self.calls, self.rows = function, 0, 0

    def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.calls += 1
        self.rows += len(arguments[0])
        return self.function(*arguments)


class PlainSearch:
    """The searches of one prompt alone. What has been said is always read anew, from its first word, in one call."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prompt: list[int], never: list[int] = NEVER) -> None:
        self.decoder, self.never = decoder, never
        *_, self.turn, _ = [(), *words_between(prompt)]
        self.read = encoder(torch.tensor([prompt]), torch.tensor([len(prompt)]))
        self.read_nothing = encoder(torch.tensor([[EOS_ID]]), torch.tensor([1]))
        self.known: dict[tuple[Said, bool], list[float]] = {}

    def logits(self, said: Said, blank: bool = False) -> list[float]:
        if (said, blank) not in self.known:
            memory, source, hidden = self.read_nothing if blank else self.read
            with torch.no_grad():
                found = self.decoder(torch.tensor([[SOS_ID, *said]]), hidden, memory, source)[0][0, -1]
            self.known[said, blank] = found.tolist()
        return self.known[said, blank]

    def log_probs(self, said: Said) -> list[float]:
        return log_softmax(self.logits(said))

    def ranks(self, said: Said, limits: Limits) -> dict[int, float]:
        """The words that may follow, and what they are ranked by."""
        theta = limits.repetition_penalty
        logits = [
            (x / theta if x > 0 else x * theta) if word in said and theta != 1 else x
            for word, x in enumerate(self.logits(said))
        ]
        ranks = dict(enumerate(log_softmax(logits)))
        if limits.anti_lm and len(said) < limits.anti_lm_tokens:
            without = log_softmax(self.logits(said, blank=True))
            if limits.anti_lm_bound:
                least = [log_prob - limits.anti_lm_bound for log_prob in self.log_probs(said)]
                without = [max(pair) for pair in zip(without, least, strict=True)]
            ranks = {word: rank - limits.anti_lm * without[word] for word, rank in ranks.items()}
        ranks = {
            word: rank
            for word, rank in ranks.items()
            if word not in self.never
            and not repeats((*said, word), limits.no_repeat_ngram)
            and not stands_in((*said, word), self.turn, limits.no_repeat_context_ngram)
            and not (limits.tidy_marks and word in MARKS and (not said or said[-1] in MARKS))
        }
        if len(said) < limits.min_length and len(ranks) > 1:
            del ranks[EOS_ID]
        return ranks

    def score(self, said: Said) -> list[float]:
        """log p of each token."""
        return [self.log_probs(said[:i])[word] for i, word in enumerate(said)]

    def rank(self, said: Said, limits: Limits) -> float:
        return math.fsum(self.ranks(said[:i], limits)[word] for i, word in enumerate(said))

    def greedy(self, limits: Limits) -> Said:
        said: Said = ()
        while len(said) < limits.max_length and EOS_ID not in said:
            ranks = self.ranks(said, limits)
            said = (*said, max(ranks, key=lambda word: ranks[word]))
        return said

    def beam(
        self, limits: Limits, width: int, count: int, alpha: float, threshold: float = math.inf
    ) -> list[tuple[float, Said]]:
        """Every step up to max_length is taken; Python's sort keeps the order of equals."""
        live: list[tuple[float, Said]] = [(0.0, ())]
        ended: list[tuple[float, Said]] = []
        for length in range(1, limits.max_length + 1):
            further = [(total + r, (*said, w)) for total, said in live for w, r in self.ranks(said, limits).items()]
            best = sorted(further, key=lambda continuation: -continuation[0])[:width]
            over = [said[-1] == EOS_ID or length == limits.max_length for _, said in best]
            ended += [(value(total, said, alpha), said) for total, said in itertools.compress(best, over)]
            live = [continuation for continuation, is_over in zip(best, over, strict=True) if not is_over]
            live = [continuation for continuation in live if continuation[0] >= live[0][0] - threshold]
        return sorted(ended, key=lambda found: -found[0])[:count]

    def every_reply(self, limits: Limits, alpha: float = 0.0, said: Said = ()) -> dict[Said, float]:
        """Each reply there is, with what it is ranked by: nothing is searched, all are listed."""
        if EOS_ID in said or len(said) == limits.max_length:
            return {said: value(self.rank(said, limits), said, alpha)}
        found: dict[Said, float] = {}
        for word in self.ranks(said, limits):
            found |= self.every_reply(limits, alpha, (*said, word))
        return found


def value(total: float, said: Said, alpha: float) -> float:
    """What a reply is ranked by: one that was cut comes after all that ended."""
    return total / penalty(len(said), alpha) - (0 if said[-1] == EOS_ID else 1e5)


def penalty(length: int, alpha: float) -> float:
    return (5 + length) ** alpha / 6**alpha


def log_softmax(logits: list[float]) -> list[float]:
    return torch.tensor(logits).log_softmax(0).tolist()


def repeats(said: Said, n: int) -> bool:
    """Whether the last n words stand in `said` before."""
    return n > 0 and any(said[i : i + n] == said[-n:] for i in range(len(said) - n))


def some_prompts(count: int, size: int) -> list[list[int]]:
    """Prompts of 1 to 8 of the ids from 4 to `size`, every second one behind a turn of words that `network` likes."""
    rng = random.Random(0)
    prompts = [[rng.randrange(4, size) for _ in range(rng.randint(1, 8))] for _ in range(count)]
    return [[*rng.choices((4, 12, 18), k=4), SEP, *prompt] if row % 2 else prompt for row, prompt in enumerate(prompts)]


def words_between(prompt: list[int]) -> list[Said]:
    """A prompt cut at each SEP."""
    cuts = [-1, *(place for place, id in enumerate(prompt) if id == SEP), len(prompt)]
    return [tuple(prompt[start + 1 : end]) for start, end in itertools.pairwise(cuts)]


def stands_in(said: Said, turn: Said, n: int) -> bool:
    """Whether the last n words of `said` stand in `turn`."""
    return n > 0 and len(said) >= n and any(turn[i : i + n] == said[-n:] for i in range(len(turn) - n + 1))


def reply(row: Tensor) -> Said:
    """A row of tokens without its padding."""
    return tuple(row[row != PAD_ID].tolist())


def scripted(search: type[nn.Module], model: Seq2Seq) -> torch.jit.ScriptModule:
    """A search compiled around the network's traced parts, as `export` does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        src, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
        encoder = torch.jit.trace(model.encoder, (src, lengths), check_trace=False)
        memory, source, hidden = model.encoder(src, lengths)
        decoder = torch.jit.trace(model.decoder, (src[:, :1], hidden, memory, source), check_trace=False)
        return torch.jit.script(search(encoder, decoder, NEVER, MARKS, SEP).eval())
