"""How a corpus writes its words inside sentences: Robin, Monday, TV, iPhone. Two tokenizers lower-case them all.

What counts is a word behind another one, or behind its comma, in a turn that begins with a capital and has at most half
of its other words in capitals. So the beginnings of sentences say nothing, nor what stands behind a quotation mark, a
dash or an abbreviation's dot; nor do shouted turns and titles, nor chats that use no capitals at all.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from .tokenizer import TOKENIZERS, EnglishTokenizer

MAX_RUNS = 1 << 20  # different runs that are counted; further ones are not, however frequent
LEAST_SHARE = 0.05  # of a word's occurrences that must count for a form: one odd turn says little of a common word

WRITTEN_BACK = ("english", "unicode")  # the tokenizers whose words get their capitals back

_ENGLISH = EnglishTokenizer()
_CAPITALS = re.compile(r" [A-Z]")
_INSIDE = re.compile(r" (?<=[A-Za-z0-9',] )([A-Za-z0-9']+)")  # it begins with a space, which is quickly found


def count_runs(turns: Iterable[str], tokenizer: str = "english") -> Counter[str]:
    """Count the runs of letters, digits and apostrophes inside the sentences of those turns that count.

    For `unicode` they are its words, with capitals.
    """
    if tokenizer == "unicode":
        return Counter(itertools.chain.from_iterable(map(_inside, turns)))
    counted = (
        turn if turn.isascii() else _ENGLISH.fold_characters(turn)
        for turn in turns
        if turn[:1].isupper() and 2 * len(_CAPITALS.findall(turn)) <= turn.count(" ")
    )
    return Counter(_INSIDE.findall("\n".join(counted).replace("`", "'")))


def _inside(turn: str) -> Iterator[str]:
    """The words inside the sentences of a turn of any language, if it counts."""
    words = TOKENIZERS["unicode-cased"].tokenize(turn)
    letters = [word for word in words if word[0].isalpha()]
    capitals = sum(word[0].isupper() for word in letters[1:])
    if letters and letters[0][0].isupper() and 2 * capitals <= len(letters) - 1:
        before = ""
        for word in words:
            if word[0].isalpha() and (before[:1].isalnum() or before == ","):
                yield word
            before = word


def add_runs(total: dict[str, float], runs: Mapping[str, float], weight: float = 1.0) -> None:
    """Add the counts of `runs`, so many times, to `total`, which holds at most MAX_RUNS of them."""
    for run, count in runs.items():
        if run in total or len(total) < MAX_RUNS:
            total[run] = total.get(run, 0.0) + count * weight


def majority_forms(
    runs: Mapping[str, float], counts: Mapping[str, float], tokenizer: str = "english"
) -> dict[str, str]:
    """The form in which each word is mostly written, where that is not lower case.

    Args:
        runs: how often each run was counted.
        counts: the words that are asked about, with how often each of them occurs in all.

    Returns:
        the forms, in the order of `counts`. Each was counted for over half of what counts of its word, for at least
        LEAST_SHARE of all occurrences of the word, and once at least; twice where more than the first letter is in
        capitals, for a name may have been shouted once.
    """
    found: dict[str, dict[str, float]] = {word: {} for word in counts}
    for run, count in runs.items():
        for form in _forms_of_run(run) if tokenizer == "english" else (run,):
            if (forms := found.get("".join(map(str.lower, form)))) is not None:
                forms[form] = forms.get(form, 0.0) + count
    written = {}
    for word, forms in found.items():
        form, count = max(forms.items(), key=lambda item: item[1], default=(word, 0.0))
        least = max(LEAST_SHARE * counts[word], 1 if form == word.capitalize() else 2)
        if form != word and count >= least and 2 * count > sum(forms.values()):
            written[word] = form
    return written


def _forms_of_run(run: str) -> Iterator[str]:
    """The words of a run as they are written in it."""
    if run.isalpha():
        yield run
        return
    lower, end = run.lower(), 0
    for word in _ENGLISH.tokenize(run):
        start = lower.index(word, end)
        end = start + len(word)
        yield run[start:end]
