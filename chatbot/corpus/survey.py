"""A look at a corpus before it is prepared: how long its turns are, and whether it is a small one."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ..config.settings import CorpusConfig
from .formats.dialogue import Dialogue
from .pairs import batches
from .tokenizer import TOKENIZERS

SHARE = 0.9  # of the pairs that a length is to keep
SHORTEST, LONGEST = 12, 40  # words: a shorter limit saves nothing, a longer one makes every step dear
WHOLE, EVERY = 32, 16  # so many batches are looked at, and then every sixteenth


def fitting_length(corpora: Iterable[tuple[Iterator[Dialogue], float]], config: CorpusConfig) -> int:
    """The fewest words a side, from SHORTEST to LONGEST, that keep SHARE of the pairs.

    Args:
        corpora: the dialogues of each corpus, and how often an epoch shows them.
    """
    tokenize = TOKENIZERS[config.tokenizer].tokenize
    lengths: Counter[int] = Counter()
    for found, weight in corpora:
        for number, batch in enumerate(batches(found)):
            if number >= WHOLE and number % EVERY:
                continue
            times = weight * (1 if number < WHOLE else EVERY)
            for dialogue in batch:
                # no word is longer than a line is: what has so many characters is too long whatever its words are
                words = [len(tokenize(turn[: 64 * LONGEST])) if turn is not None else None for turn in dialogue.turns]
                for place in learnt(dialogue):
                    prompt, reply = words[place], words[place + 1]
                    if prompt is not None and reply is not None and min(prompt, reply) >= config.min_length:
                        lengths[min(max(prompt, reply), LONGEST + 1)] += times  # type: ignore[assignment]
    kept, wanted = 0.0, SHARE * lengths.total()
    for length in range(LONGEST):
        kept += lengths[length]
        if kept >= wanted:
            return max(length, SHORTEST)
    return LONGEST


def count_pairs(found: Iterator[Dialogue], most: int) -> int:
    """How many pairs dialogues hold; `most` if there are as many, and then no more is read."""
    count = 0
    for dialogue in found:
        count += sum(1 for _ in learnt(dialogue))
        if count >= most:
            return most
    return count


def learnt(dialogue: Dialogue) -> Iterator[int]:
    """The places of the prompts whose replies are learnt."""
    turns, answers = dialogue.turns, dialogue.answers
    for place in range(dialogue.start, len(turns) - 1):
        if turns[place] is not None and turns[place + 1] is not None and (not answers or answers[place + 1]):
            yield place
