"""Does the figure of broken English agree with readers? Their marks of replies beside it, and beside other scores.

    python bench/broken.py bench/marks/broken.json bench/readings/decodings [...] [--corpus auto] [--data-dir data]

Marks are a folder of `bench/readers.py`, or a file: a JSON list of objects with `reply`, its text; `mark`, -1 for
broken English and anything above for what is not, or a list of the marks of several readers; and, if one likes,
`from`, whose reply it is, or a list of all whose it is. Where readers marked sense (2 specific, 1 dull, 0 odd), only -1
counts.

Of each score: Spearman's rank correlation with the share of the readers who marked a reply broken; the area under the
curve, how often a reply that most marked broken is the odder of two; and, where the bound is such that it finds 2% of
people's own replies, what share it finds of the broken ones and of the others. Then, of whose replies they are, how
many the readers found broken and how many the figure does.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from readers import marks_of

from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.corpus.ngrams import turns, with_ends
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.evaluation.broken import SHARE, Oddity, divided
from chatbot.training.ngrams import NgramModel

BROKEN = -1
CHOSEN = "oddity (the figure)"
AT_ONCE = 200  # texts, each word of which has a distribution over all words in memory


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="the figure of broken English beside readers' marks")
    parser.add_argument("marks", nargs="+", type=Path, metavar="PATH", help="a JSON file, or a folder of readers.py")
    parser.add_argument("--corpus", default="auto", help="whose training replies are counted")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args(given)
    rows = [row for path in arguments.marks for row in marked(path)]
    config = Config.from_dict({"corpus": {"corpus": arguments.corpus, "tokenizer": "english"}}, over=PRESETS["default"])
    folder = prepare(config.corpus, arguments.data_dir).folder
    tokenizer, vocabulary = TOKENIZERS[config.corpus.tokenizer], load_vocabulary(folder)
    replies = [vocabulary.encode(tokenizer.tokenize(row["reply"])) for row in rows]
    training = PairDataset(folder, "train")
    counted, judged, _ = divided(training)
    people = [training[place][1].tolist() for place in judged.tolist()]
    pairs = [training[place] for place in counted.tolist()]
    readers = np.array([broken_share(row["mark"]) for row in rows])
    print(f"{len(rows)} replies, {(readers >= 0.5).sum()} of them broken by most readers")
    print(f"{'score':44}{'Spearman':>9}{'AUC':>7}{'found':>8}{'of others':>11}")
    score = Scores(pairs, len(vocabulary), vocabulary.num_special)
    of_replies, of_people = score(replies), score(people)
    for name, odd in of_replies.items():
        found = odd > np.quantile(of_people[name], 1 - SHARE)
        print(name.ljust(44) + agreement(odd, readers, found))
        if name == CHOSEN:
            chosen = found
    print(f"\n{'from':44}{'replies':>9}{'readers':>9}{'figure':>9}")
    names = [[own] if isinstance(own := row.get("from", []), str) else own for row in rows]
    for origin in sorted({name for own in names for name in own}):
        here = np.array([origin in own for own in names])
        print(f"{origin:44}{here.sum():9}{readers[here].mean():9.1%}{chosen[here].mean():9.1%}")


def marked(path: Path) -> list[dict[str, Any]]:
    """Replies with their marks and whose they are, from a file or from a folder with a key."""
    if not path.is_dir():
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return rows
    key, marks = json.loads((path / "key.json").read_text(encoding="utf-8"))["key"], list(marks_of(path).values())
    return [
        {"reply": reply, "from": names, "mark": given}
        for number, letters in key.items()
        for letter, (reply, *names) in letters.items()
        if (given := [reader[number, letter] for reader in marks if (number, letter) in reader])
    ]


class Scores:
    """The figure's own score and what else was tried, from the texts of pairs."""

    def __init__(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], size: int, num_special: int) -> None:
        texts = turns(pairs, num_special)
        self.oddity = Oddity(texts, size)
        self.model = NgramModel(pairs, size, num_special)
        self.table = self.model.table()
        words = np.bincount(with_ends(texts)[0], minlength=size) + 0.5
        self.often = np.log(words / words.sum())

    def __call__(self, texts: list[list[int]]) -> dict[str, np.ndarray]:
        """By the score's name, of each text (T,) float64, higher for odder."""
        found: dict[str, list[float]] = {}
        for first in range(0, len(texts), AT_ONCE):
            said, starts = with_ends(texts[first : first + AT_ONCE])
            soft = self.model.targets(said, starts, 1.0, counted=False)
            likely = np.log(self.table.dense(soft).numpy()[np.arange(len(said)), said].astype(np.float64))
            over = likely - self.often[said]
            for logs, beyond in zip(np.split(likely, starts[1:]), np.split(over, starts[1:]), strict=True):
                for name, log in (
                    ("least likely word", logs.min()),
                    ("least likely two words", (logs[1:] + logs[:-1]).min(initial=logs[0])),
                    ("mean over words", logs.mean()),
                    ("the ending", logs[-1]),
                    ("mean, over the words' own frequency", beyond.mean()),
                    ("least, over the word's own frequency", beyond.min()),
                ):
                    found.setdefault(f"Kneser-Ney: {name}", []).append(-float(log))
        return {CHOSEN: self.oddity.of(texts), **{name: np.array(column) for name, column in found.items()}}


def broken_share(mark: int | list[int]) -> float:
    """The share of the readers who marked a reply broken."""
    marks = mark if isinstance(mark, list) else [mark]
    return sum(one == BROKEN for one in marks) / len(marks)


def agreement(odd: np.ndarray, readers: np.ndarray, found: np.ndarray) -> str:
    """Of scores (R,), shares of readers (R,) and what lies beyond the bound (R,): a line of the table."""
    broken = readers >= 0.5
    shares = (
        found[broken].mean() if broken.any() else math.nan,
        found[~broken].mean() if not broken.all() else math.nan,
    )
    return f"{spearman(odd, readers):9.3f}{area_under_curve(odd, broken):7.3f}{shares[0]:8.0%}{shares[1]:11.1%}"


def ranks(values: np.ndarray) -> np.ndarray:
    """From 1 up; equal values share the mean of their ranks."""
    rising = np.sort(values)
    return (np.searchsorted(rising, values, "left") + np.searchsorted(rising, values, "right") + 1) / 2


def spearman(values: np.ndarray, others: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where all of either are equal."""
    if np.ptp(values) == 0 or np.ptp(others) == 0:
        return math.nan
    return float(np.corrcoef(ranks(values), ranks(others))[0, 1])


def area_under_curve(values: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive has the higher value of two, a tie counting half; NaN without both kinds."""
    many, few = positive.sum(), (~positive).sum()
    if not many or not few:
        return math.nan
    return float((ranks(values)[positive].sum() - many * (many + 1) / 2) / (many * few))


if __name__ == "__main__":
    main()
