"""Dialogues to (context + prompt, reply) pairs of words, filtered by length, each with its side of the split.

This part runs in worker processes: batches of dialogues come in, arrays of small numbers go out.
"""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..config.settings import CorpusConfig
from .formats.dialogue import Dialogue
from .forms import WRITTEN_BACK, count_runs
from .language import letters_lost, size_of
from .tokenizer import TOKENIZERS
from .vocabulary import SEP

BATCH_TURNS = 8192
TRAIN, VALID, TEST, NO_SIDE = range(4)  # no side: held out of a corpus that is only rehearsed
LEVELS = ("film", "conversation", "prompt")  # what the split can keep together, the best first: see `Pairs.sides`
FEWEST_GROUPS = 20  # films or dialogues that a split by them needs; with fewer, one of its sides may well be empty


class Pairs(NamedTuple):
    """The pairs of a batch of dialogues, P of them, with words numbered as they are first seen in the batch.

    words: in the order of their numbers.
    numbers (N,) int32: the words of prompt 0, reply 0, prompt 1, and so on.
    lengths (2P,) int32: of each prompt and reply, in words.
    sides (P,) uint8: TRAIN, VALID or TEST, for a split by film (bits 0-1), by dialogue (bits 2-3) and by prompt (bits
        4-5, only in a batch of under FEWEST_GROUPS dialogues). The sizes of the whole corpus decide which one is used.
    films: those of the batch.
    runs: how often each run stands inside a sentence of these turns (`forms.count_runs`), for each value of `sides`;
        empty where words are always in lower case.
    lost: letters that the tokenizer loses of these turns, and how often.
    counts: of dialogues, pairs and characters, by their names in a preparation's figures.
    """

    words: list[str]
    numbers: np.ndarray
    lengths: np.ndarray
    sides: np.ndarray
    films: set[str]
    runs: dict[int, dict[str, int]]
    lost: dict[str, int]
    counts: dict[str, int]


def batches(dialogues: Iterable[Dialogue], turns: int = BATCH_TURNS) -> Iterator[list[Dialogue]]:
    """Yield lists of dialogues that have about `turns` turns together."""
    batch: list[Dialogue] = []
    size = 0
    for dialogue in dialogues:
        batch.append(dialogue)
        size += len(dialogue.turns)
        if size >= turns:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def pairs_of(dialogues: list[Dialogue], config: CorpusConfig) -> Pairs:
    """Pair every turn with the one that answers it, if both are `min_length` to `max_length` words long.

    Up to `context` earlier turns precede the prompt, each cut to its last `max_length` words and followed by `<sep>`;
    turns before a missing one are left out.
    """
    tokenize = TOKENIZERS[config.tokenizer].tokenize
    # this many characters mostly show that a turn is too long; but context needs its last words, and so all of it
    enough = 8 * config.max_length + 8 if config.context == 0 else 1 << 40
    low, high, context, quirks = config.min_length, config.max_length, config.context, config.tutorial_quirks
    split = config.split if config.split[TRAIN] < 1 else None
    numbering: defaultdict[str, int] = defaultdict()
    numbering.default_factory = numbering.__len__  # the first lookup of a word gives it the next number
    number = numbering.__getitem__
    numbers: list[list[int]] = []
    lengths: list[int] = []
    sides: list[int] = []
    used: defaultdict[int, list[str]] = defaultdict(list)  # the turns of these pairs, each once, by side
    too_short = too_long = 0
    by_prompt = len(dialogues) < FEWEST_GROUPS  # otherwise the corpus is split by dialogue or film
    for dialogue in dialogues:
        turns, start = dialogue.turns, dialogue.start
        words = [
            None if turn is None else tokenize(turn) if len(turn) < enough else _beginning(tokenize, turn, enough, high)
            for turn in turns
        ]
        side = last = None
        for i in range(start, len(turns) - 1):
            prompt, reply = words[i], words[i + 1]
            if prompt is None or reply is None or (dialogue.answers and not dialogue.answers[i + 1]):
                continue
            if quirks:
                both = [str(turn).strip() for turn in turns[i : i + 2]]
                if any("\t" in turn for turn in both):
                    # the tutorial splits its file of pairs on tabs, so a tab within a turn begins the next field
                    prompt, reply = map(tokenize, "\t".join(both).split("\t")[:2])
                prompt, reply = prompt or [""], reply or [""]  # there, the empty string is a word
            if len(prompt) > high or len(reply) > high:
                too_long += 1
                continue
            if len(prompt) < low or len(reply) < low:
                too_short += 1
                continue
            spoken = prompt
            if context and i:
                prompt = [*_earlier(words[max(0, i - context) : i], high), *prompt]
            numbers += (list(map(number, prompt)), list(map(number, reply)))
            lengths += (len(prompt), len(reply))
            if split:
                if side is None:
                    side = side_of(dialogue.film, split) | side_of(_key(dialogue, words), split) << 2
                sides.append(side | side_of(" ".join(spoken), split) << 4 if by_prompt else side)
            used[sides[-1] if split else TRAIN] += map(str, turns[i if last != i else i + 1 : i + 2])
            last = i + 1
    folded = config.tokenizer in WRITTEN_BACK
    said = [turn for dialogue in dialogues for turn in dialogue.turns if turn]
    return Pairs(
        words=list(numbering),
        numbers=np.fromiter(chain.from_iterable(numbers), np.int32, sum(lengths)),
        lengths=np.array(lengths, np.int32),
        sides=np.array(sides, np.uint8) if split else np.zeros(len(lengths) // 2, np.uint8),
        films={dialogue.film for dialogue in dialogues} - {""},
        runs={side: count_runs(said, config.tokenizer) for side, said in used.items()} if folded else {},
        lost=letters_lost(config.tokenizer, said),
        counts={
            "conversations": len(dialogues),
            "characters": size_of(said),
            "pairs_read": too_short + too_long + len(numbers) // 2,
            "pairs_too_short": too_short,
            "pairs_too_long": too_long,
            "pairs_short": len(numbers) // 2,
        },
    )


@functools.lru_cache(maxsize=1 << 14)
def side_of(group: str, split: tuple[float, float, float]) -> int:
    """TRAIN, VALID or TEST for a group of pairs. It depends on the group's name only, so a corpus may grow."""
    digest = hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    share = int.from_bytes(digest, "little") / 2**64
    return TRAIN if share < split[TRAIN] else VALID if share < split[TRAIN] + split[VALID] or not split[TEST] else TEST


def _beginning(tokenize: Callable[[str], list[str]], turn: str, enough: int, most: int) -> list[str]:
    """The words of a long turn, or only its first ones if these are over `most`: no word reaches over a space."""
    end = turn.rfind(" ", 0, enough)
    words = tokenize(turn[:end]) if end > 0 else []
    return words if len(words) > most else tokenize(turn)


def _earlier(turns: Sequence[list[str] | None], most: int) -> list[str]:
    """Context: the last `most` words of each turn, followed by `<sep>`."""
    context: list[str] = []
    for turn in turns:
        if turn is None:
            context = []
        elif turn:
            context += [*turn[-most:], SEP]
    return context


def _key(dialogue: Dialogue, words: Sequence[list[str] | None]) -> str:
    """The name of a dialogue for the split. A bare pair is named by its prompt, so a question stays on one side."""
    if dialogue.key:
        return f"{dialogue.film} {dialogue.key}"
    return " ".join(words[0] or () if len(words) == 2 else (turn or "" for turn in dialogue.turns))
