"""Figures of replies, by hand and against a second calculation in plain Python."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.evaluation.replies import (
    bleu,
    corpus_bleu,
    distinct,
    entropy,
    figures,
    frequent,
    generic_rate,
    mean_length,
)

WORDS = st.lists(st.sampled_from("abcde"), max_size=7)
SAID = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12)


def grams(words: Any, n: int) -> list[tuple[Any, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def matches(reply: list[str], reference: list[str], n: int) -> int:
    theirs = Counter(grams(reference, n))
    return sum(min(count, theirs[gram]) for gram, count in Counter(grams(reply, n)).items())


def brevity(reply: int, reference: int) -> float:
    return 1.0 if reply > reference else math.exp(1 - reference / reply)


def bleu_again(reply: list[str], reference: list[str], n: int) -> float:
    """Papineni et al. 2002, equations 1 to 3, with method 4 of Chen and Cherry 2014."""
    if not matches(reply, reference, 1):
        return 0.0
    if len(reply) == 1:
        return brevity(1, len(reference))
    logs, halvings = [], 0
    for order in range(1, n + 1):
        possible = max(len(reply) - order + 1, 1)
        found: float = matches(reply, reference, order)
        if not found:
            halvings += 1
            found = math.log(len(reply)) / (2**halvings * 5)
        logs.append(math.log(found / possible))
    return brevity(len(reply), len(reference)) * math.exp(sum(logs) / n)


def test_bleu_by_hand() -> None:
    # 3 of 4 words, 1 of 3 pairs of words (i am), none of 2 triples, not the one of four; 4 words beside 6
    found = bleu([["i", "am", "fine", "thanks"]], [["i", "am", "well", "thanks", "a", "lot"]])
    short = math.exp(1 - 6 / 4)
    third, fourth = math.log(4) / (2 * 5) / 2, math.log(4) / (4 * 5) / 1
    assert found == pytest.approx(
        [
            short * 3 / 4,
            short * (3 / 4 * 1 / 3) ** (1 / 2),
            short * (3 / 4 * 1 / 3 * third) ** (1 / 3),
            short * (3 / 4 * 1 / 3 * third * fourth) ** (1 / 4),
        ]
    )


def test_a_word_counts_as_often_as_the_person_said_it() -> None:
    assert bleu([["the", "the", "the"]], [["the", "cat"]])[0] == pytest.approx(1 / 3)


def test_bleu_of_what_the_person_said_is_one_from_four_words_on() -> None:
    said = [["you", "have", "my", "word", "."], ["where", "are", "you", "?"]]
    assert bleu(said, said) == (1, 1, 1, 1)


def test_bleu_of_short_replies_is_what_smoothing_makes_of_them() -> None:
    assert bleu([["yes"]], [["yes"]]) == (1, 1, 1, 1)
    assert bleu([["yes"]], [["yes", "sir"]]) == pytest.approx([math.exp(-1)] * 4)
    third, fourth = math.log(2) / 10, math.log(2) / 20
    assert bleu([["oh", "no"]], [["oh", "no"]]) == pytest.approx([1, 1, third ** (1 / 3), (third * fourth) ** (1 / 4)])


def test_bleu_is_zero_without_a_word_in_common() -> None:
    for reply, reference in [(["a"], ["b"]), ([], ["b"]), (["a"], []), ([], [])]:
        assert bleu([reply], [reference]) == (0, 0, 0, 0)
        assert corpus_bleu([reply], [reference]) == (0, 0, 0, 0)


@settings(deadline=None)
@given(SAID)
def test_bleu_is_the_mean_of_the_sentences(said: list[tuple[list[str], list[str]]]) -> None:
    replies, references = map(list, zip(*said, strict=True))
    for n, found in enumerate(bleu(replies, references), 1):
        assert found == pytest.approx(sum(bleu_again(*pair, n) for pair in said) / len(said), abs=1e-12)


@settings(deadline=None)
@given(SAID)
def test_corpus_bleu_adds_up_before_it_divides(said: list[tuple[list[str], list[str]]]) -> None:
    replies, references = map(list, zip(*said, strict=True))
    lengths = sum(map(len, replies)), sum(map(len, references))
    for n, found in enumerate(corpus_bleu(replies, references), 1):
        right = [sum(matches(*pair, order) for pair in said) for order in range(1, n + 1)]
        # where a reply has no n-gram nltk counts one that is wrong
        possible = [sum(max(len(reply) - order + 1, 1) for reply in replies) for order in range(1, n + 1)]
        expected = 0.0
        if all(right):
            mean = sum(math.log(a / b) for a, b in zip(right, possible, strict=True)) / n
            expected = brevity(*lengths) * math.exp(mean)
        assert found == pytest.approx(expected, abs=1e-12)


def test_distinct_by_hand() -> None:
    replies = [["i", "do", "n't", "know", "."], ["i", "know", "."]]
    assert distinct(replies, 1) == 5 / 8
    assert distinct(replies, 2) == 5 / 6  # i do, do n't, n't know, know . (twice), i know


@given(st.lists(WORDS, max_size=12), st.sampled_from([1, 2]))
def test_distinct_is_kinds_over_occurrences(replies: list[list[str]], n: int) -> None:
    every = [gram for reply in replies for gram in grams(reply, n)]
    assert distinct(replies, n) == (len(set(every)) / len(every) if every else None)


def test_entropy_by_hand_is_in_bits() -> None:
    shares = {("a",): 1 / 2, ("b",): 1 / 8, ("a", "b"): 1 / 16}
    assert entropy([["a", "b"]], shares, 1) == 2  # (1 + 3) / 2
    assert entropy([["a", "b"]], shares, 2) == 4
    # of each reply the mean of what training knows; a reply of which it knows nothing does not count
    assert entropy([["a", "b"], ["a", "x"], ["x"], []], shares, 1) == (2 + 1) / 2
    assert entropy([["x"], []], shares, 1) is None


@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=12), st.sampled_from([1, 2]))
def test_entropy_is_that_of_the_training_distribution(
    replies: list[list[str]], training: list[list[str]], n: int
) -> None:
    counts = Counter(gram for reply in training for gram in grams(reply, n))
    shares = {gram: count / counts.total() for gram, count in counts.items()}
    means = []
    for reply in replies:
        if known := [-math.log(shares[gram], 2) for gram in grams(reply, n) if gram in shares]:
            means.append(sum(known) / len(known))
    found = entropy(replies, shares, n)
    assert found == (pytest.approx(sum(means) / len(means), abs=1e-12) if means else None)


def test_the_generic_rate_is_the_share_of_the_ten_commonest() -> None:
    replies = [["no"]] * 5 + [[str(number)] for number in range(15)]
    assert generic_rate(replies) == (5 + 9) / 20
    assert frequent(replies)[:2] == [(("no",), 5), (("0",), 1)]  # of equals the first said
    assert generic_rate([["no"], [], ["no"]]) == 1
    assert generic_rate([]) is None


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=1, max_size=60))
def test_the_generic_rate_recounted(replies: list[list[str]]) -> None:
    counts = sorted(replies.count(reply) for reply in {tuple(reply): reply for reply in replies}.values())
    assert generic_rate(replies) == sum(counts[-10:]) / len(replies)


def test_all_figures_of_a_few_replies() -> None:
    replies, references = [["a", "b"], ["a"], ["a"], []], [["a", "b"], ["b"], ["a"], ["a"]]
    found = figures(replies, references, {("a",): 0.5}, {("a",), ("b",)}, pairs_per_second=3.0, text=" ".join)
    assert found["replies"] == 4
    assert found["mean_length"] == mean_length(replies) == 1
    assert found["exact_repeats"] == 2 / 4
    assert (found["entropy_1"], found["entropy_2"]) == (1, None)
    assert found["bleu_1"] == (1 + 0 + 1 + 0) / 4
    assert list(found) == [
        *("replies", "bleu_1", "bleu_2", "bleu_3", "bleu_4"),
        *("corpus_bleu_1", "corpus_bleu_2", "corpus_bleu_3", "corpus_bleu_4"),
        *("distinct_1", "distinct_2", "entropy_1", "entropy_2"),
        *("mean_length", "generic_rate", "exact_repeats", "judged", "broken", "pairs_per_second", "frequent"),
    ]
    assert found["distinct_1"] == 2 / 4
    assert found["distinct_2"] == 1
    assert found["frequent"] == [
        {"reply": "a", "count": 2},
        {"reply": "a b", "count": 1},
        {"reply": "", "count": 1},
    ]


def test_of_no_replies_there_are_no_figures() -> None:
    found = figures([], [], {}, set())
    assert (found.pop("replies"), found.pop("judged"), found.pop("frequent")) == (0, 0, [])
    assert set(found.values()) == {None}


def test_every_reply_needs_its_reference() -> None:
    with pytest.raises(ValueError, match="2 replies and 1 references"):
        figures([["a"], ["b"]], [["a"]], {}, set())
