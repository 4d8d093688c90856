"""Dialogues to (context + prompt, reply) pairs of words, filtered by length, each with its side of the split.

This is the part that runs in worker processes: batches of dialogues in, arrays of small numbers out.
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
from .tokenizer import TOKENIZERS
from .vocabulary import SEP

BATCH_TURNS = 8192
TRAIN, VALID, TEST = range(3)
LEVELS = ("film", "conversation", "prompt")  # what the split may keep together, the best first: see `Pairs.sides`
FEWEST_GROUPS = 20  # films, or dialogues, that a split by them needs; with fewer a side of the three is easily empty


class Pairs(NamedTuple):
    """The pairs of a batch of dialogues, P of them, with words numbered as they are first seen in the batch.

    words: in the order of their numbers; numbers (N,) int32: prompt 0, reply 0, prompt 1, …;
    lengths (2P,) int32: of each prompt and reply, in words;
    sides (P,) uint8: the side of the split (TRAIN, VALID or TEST) if it is made by film (bits 0-1), by dialogue
    (bits 2-3) or by prompt (bits 4-5; only where the batch has under FEWEST_GROUPS dialogues). Which of them it is
    depends on how many films and dialogues the whole corpus has;
    films: those of the batch; counts: of dialogues and pairs, by the names that they have in a preparation's figures.
    """

    words: list[str]
    numbers: np.ndarray
    lengths: np.ndarray
    sides: np.ndarray
    films: set[str]
    counts: dict[str, int]


def batches(dialogues: Iterable[Dialogue], turns: int = BATCH_TURNS) -> Iterator[list[Dialogue]]:
    """Cut a stream into lists of dialogues with about so many `turns` together."""
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
    """Every turn and the one that answers it, both `min_length` to `max_length` words long.

    A prompt is preceded by up to `context` earlier turns, each cut to its last `max_length` words and followed by
    `<sep>`; turns before a missing one are no context.
    """
    tokenize = TOKENIZERS[config.tokenizer].tokenize
    # so many characters of a turn mostly show that it is too long; as context its last words count, so all are read
    enough = 8 * config.max_length + 8 if config.context == 0 else 1 << 40
    low, high, context, quirks = config.min_length, config.max_length, config.context, config.tutorial_quirks
    split = config.split if config.split[TRAIN] < 1 else None
    numbering: defaultdict[str, int] = defaultdict()
    numbering.default_factory = numbering.__len__  # a word that is looked up for the first time gets the next number
    number = numbering.__getitem__
    numbers: list[list[int]] = []
    lengths: list[int] = []
    sides: list[int] = []
    too_short = too_long = 0
    by_prompt = len(dialogues) < FEWEST_GROUPS  # otherwise nobody will ask for it
    for dialogue in dialogues:
        turns, start = dialogue.turns, dialogue.start
        words = [
            None if turn is None else tokenize(turn) if len(turn) < enough else _beginning(tokenize, turn, enough, high)
            for turn in turns
        ]
        side = None
        for i in range(start, len(turns) - 1):
            prompt, reply = words[i], words[i + 1]
            if prompt is None or reply is None:
                continue
            if quirks:
                both = [str(turn).strip() for turn in turns[i : i + 2]]
                if any("\t" in turn for turn in both):
                    # the tutorial's file of pairs is split on tabs, so a tab within a turn ends the field
                    prompt, reply = map(tokenize, "\t".join(both).split("\t")[:2])
                prompt, reply = prompt or [""], reply or [""]  # the empty string is a word
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
                    side = _side(dialogue.film, split) | _side(_key(dialogue, words), split) << 2
                sides.append(side | _side(" ".join(spoken), split) << 4 if by_prompt else side)
    return Pairs(
        words=list(numbering),
        numbers=np.fromiter(chain.from_iterable(numbers), np.int32, sum(lengths)),
        lengths=np.array(lengths, np.int32),
        sides=np.array(sides, np.uint8) if split else np.zeros(len(lengths) // 2, np.uint8),
        films={dialogue.film for dialogue in dialogues} - {""},
        counts={
            "conversations": len(dialogues),
            "pairs_read": too_short + too_long + len(numbers) // 2,
            "pairs_too_short": too_short,
            "pairs_too_long": too_long,
            "pairs_short": len(numbers) // 2,
        },
    )


def side_of(group: str, split: tuple[float, float, float]) -> int:
    """TRAIN, VALID or TEST for a group of pairs, by its name alone: not by its place, the others or the machine."""
    digest = hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    share = int.from_bytes(digest, "little") / 2**64
    return TRAIN if share < split[TRAIN] else VALID if share < split[TRAIN] + split[VALID] or not split[TEST] else TEST


_side = functools.lru_cache(maxsize=1 << 14)(side_of)


def _beginning(tokenize: Callable[[str], list[str]], turn: str, enough: int, most: int) -> list[str]:
    """The words of a long turn, or as many as show that there are over `most`: no word reaches over a space."""
    end = turn.rfind(" ", 0, enough)
    words = tokenize(turn[:end]) if end > 0 else []
    return words if len(words) > most else tokenize(turn)


def _earlier(turns: Sequence[list[str] | None], most: int) -> list[str]:
    """Context: the last `most` words of each turn, and `<sep>` behind it."""
    context: list[str] = []
    for turn in turns:
        if turn is None:
            context = []
        elif turn:
            context += [*turn[-most:], SEP]
    return context


def _key(dialogue: Dialogue, words: Sequence[list[str] | None]) -> str:
    """What names a dialogue; a bare pair is named by its prompt, so that one question stays on one side."""
    if dialogue.key:
        return f"{dialogue.film} {dialogue.key}"
    return " ".join(words[0] or () if len(words) == 2 else (turn or "" for turn in dialogue.turns))
