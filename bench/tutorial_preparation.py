"""The lineage's way to prepare the Cornell corpus, restated: what `bench/preparation.py` is measured against.

One thread, everything in dictionaries and lists: utterances and conversations are read whole, pairs go to a file
through a csv writer and come back through a split on line ends and tabs, are normalised by regular expressions,
filtered by length, counted, and trimmed of rare words. It is also the tests' independent statement of what
`--preset tutorial` must produce, so it shares no code with the program.
"""

import csv
import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any

LONGEST = 10  # words, not reached
RAREST = 3
FIRST_WORD_ID = 3  # after padding, start and end


def prepare(corpus: Path, intermediate: Path) -> dict[str, Any]:
    """Figures, words in order of their ids (from 3), and the pairs kept as lists of ids."""
    conversations = read_conversations(corpus)
    pairs_read = 0
    with intermediate.open("w", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        for utterances in conversations:
            for asked, answered in itertools.pairwise(utterances):
                asked, answered = asked.strip(), answered.strip()
                if asked and answered:
                    writer.writerow([asked, answered])
                    pairs_read += 1
    lines = intermediate.read_text(encoding="utf-8").strip().split("\n")
    pairs = [[normalised(field) for field in line.split("\t")] for line in lines]
    short = [pair for pair in pairs if all(len(side.split(" ")) < LONGEST for side in pair[:2])]
    counts: dict[str, int] = {}
    for pair in short:
        for side in pair[:2]:
            for word in side.split(" "):
                counts[word] = counts.get(word, 0) + 1
    words = [word for word, count in counts.items() if count >= RAREST]
    ids = {word: id for id, word in enumerate(words, FIRST_WORD_ID)}
    kept = []
    for pair in short:
        sides = [side.split(" ") for side in pair[:2]]
        if all(word in ids for side in sides for word in side):
            kept.append([[ids[word] for word in side] for side in sides])
    return {
        "pairs_read": pairs_read,
        "pairs_short": len(short),
        "words_counted": len(counts) + FIRST_WORD_ID,
        "words_kept": len(words),
        "words_total": len(counts),
        "pairs_kept": len(kept),
        "words": words,
        "pairs": kept,
    }


def read_conversations(corpus: Path) -> list[list[str]]:
    """The texts of every conversation, in the order of movie_conversations.txt."""
    lines = {}
    with (corpus / "movie_lines.txt").open(encoding="iso-8859-1") as file:
        for row in file:
            values = row.split(" +++$+++ ")
            names = ("line", "character", "movie", "name", "text")
            fields = dict(zip(names, values, strict=False))
            lines[fields["line"]] = fields
    conversations = []
    with (corpus / "movie_conversations.txt").open(encoding="iso-8859-1") as file:
        for row in file:
            values = row.split(" +++$+++ ")
            fields = dict(zip(("first", "second", "movie", "lines"), values, strict=False))
            conversations.append([lines[id]["text"] for id in re.findall("L[0-9]+", fields["lines"])])
    return conversations


def normalised(text: str) -> str:
    """Lower case, no accents, marks set apart, everything else a space."""
    decomposed = unicodedata.normalize("NFD", text.lower().strip())
    text = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    text = re.sub(r"([.!?])", r" \1", text)
    text = re.sub(r"[^a-zA-Z.!?]+", " ", text)
    return re.sub(r"\s+", " ", text).strip()
