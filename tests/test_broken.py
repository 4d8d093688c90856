"""Broken English: counts beside a restatement in plain Python, sentences of a small grammar, and people's own share."""

import dataclasses
import itertools
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.corpus.ngrams import with_ends
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.vocabulary import EOS_ID, SOS_ID, Vocabulary
from chatbot.evaluation.answers import answer
from chatbot.evaluation.broken import FEWEST, SHARE, BrokenEnglish, Oddity, divided

V, SPECIAL = 8, 3
TEXT = st.lists(st.integers(SPECIAL, V - 1), max_size=6)
TEXTS = st.lists(TEXT, min_size=1, max_size=12)


def arrays(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, np.uint16) for text in texts]


def plain(counted: list[list[int]], text: list[int]) -> float:
    """The oddity of a text by its definition, all counted one by one."""
    lines = [[SOS_ID, *said, EOS_ID] for said in counted]
    words = Counter(word for line in lines for word in line[1:])
    before = Counter(word for line in lines for word in line[:-1])
    pairs = Counter(pair for line in lines for pair in itertools.pairwise(line))
    triples = Counter(triple for line in lines for triple in zip(line, line[1:], line[2:], strict=False))
    line, odd = [SOS_ID, *text, EOS_ID], []
    for end in range(1, len(line)):
        v, w = line[end - 1 : end + 1]
        odd.append((before[v] * words[w] / words.total() + 0.5) / (pairs[v, w] + 0.5))
        if end > 1:
            u = line[end - 2]
            expected = pairs[u, v] * pairs[v, w] / before[v] if before[v] else 0
            odd[-1] *= (expected + 0.5) / (triples[u, v, w] + 0.5)
    return math.log(sum(odd))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_the_oddity_is_that_of_its_definition(counted: list[list[int]], texts: list[list[int]]) -> None:
    expected = [plain(counted, text) for text in texts]
    np.testing.assert_allclose(Oddity(arrays(counted), V).of(texts), expected, rtol=1e-12, atol=1e-12)


def test_no_vocabulary_is_too_large() -> None:
    texts = [[5, 6, 7], [5, 6, 6, 7], [7, 6, 5], [6], []]
    large = [[word + (1 << 22) - V for word in text] for text in texts]
    for size, counted in ((V, texts), (1 << 22, large)):  # cubed, the latter is more than 63 bits hold
        np.testing.assert_allclose(
            Oddity([np.array(text) for text in counted[:3]], size).of(counted),
            [plain(texts[:3], text) for text in texts],
            rtol=1e-12,
        )


@settings(deadline=None)
@given(TEXTS, TEXT)
def test_over_all_words_as_much_is_expected_as_was_seen(counted: list[list[int]], text: list[int]) -> None:
    model = Oddity(arrays(counted), V)
    each = [[*text, word] for word in range(SPECIAL, V)] + [text]  # every word behind the text, and the end
    said, starts = with_ends(each)
    seen, expected = (row[:, starts + len(text)].sum(axis=1) for row in model.counts(said, starts))
    line = [SOS_ID, *text]
    for row, history in enumerate((line[-1:], line[-2:])):
        if len(history) == row + 1:
            lines = [[SOS_ID, *said] for said in counted]
            times = sum(said[i : i + len(history)] == history for said in lines for i in range(len(said)))
            assert seen[row] == times
            assert expected[row] == pytest.approx(times, abs=1e-9)


WORDS = [
    "<pad>",
    "<sos>",
    "<eos>",
    "<unk>",
    *["the", "a", ".", "?", "dog", "cat", "man", "bird", "old", "small", "sees", "hears", "likes", "loudly", "now"],
]
ID = {word: id for id, word in enumerate(WORDS)}


def sentence(rng: random.Random) -> list[int]:
    """Of a small grammar: 'the old dog sees a cat now .'"""

    def thing() -> list[str]:
        return [rng.choice(["the", "a"]), *rng.sample(["old", "small"], rng.randrange(2)), rng.choice(WORDS[8:12])]

    words = [
        *thing(),
        rng.choice(WORDS[14:17]),
        *thing(),
        *rng.sample(WORDS[17:19], rng.randrange(2)),
        rng.choice(".?"),
    ]
    return [ID[word] for word in words]


def corpus(folder: Path, pairs: list[tuple[list[int], list[int]]], parts: list[int]) -> PairDataset:
    """A training split of pairs, divided among corpora of these sizes."""
    ids = [id for pair in pairs for side in pair for id in side]
    lengths = [len(side) for pair in pairs for side in pair]
    folder.mkdir()
    np.array(ids, "<u2").tofile(folder / "train.ids")
    np.cumsum([0, *lengths]).astype("<i8").tofile(folder / "train.offsets")
    split = {"pairs": len(pairs), "tokens": len(ids), "by_part": parts}
    sources = [{"name": str(number), "weight": 1.0, "is_old": False} for number in range(len(parts))]
    figures = {"format": 3, "dtype": "uint16", "splits": {"train": split}, "sources": sources}
    (folder / "prepared.json").write_text(json.dumps(figures))
    words = [f"word{id}" for id in range(max(ids, default=0))]
    Vocabulary.from_words(words, unknown=True, separator=False).save(folder / "vocabulary.txt")
    return PairDataset(folder, "train")


@pytest.fixture
def grammar(tmp_path: Path) -> PairDataset:
    rng = random.Random(0)
    return corpus(tmp_path / "grammar", [(sentence(rng), sentence(rng)) for _ in range(3000)], [1000, 2000])


def test_sentences_are_told_from_their_words_in_disorder(grammar: PairDataset) -> None:
    english, rng = BrokenEnglish.of(grammar, len(WORDS), 4), random.Random(1)
    assert english
    fine = [sentence(rng) for _ in range(300)]
    shuffled = [rng.sample(text, len(text)) for text in fine]
    cut = [text[:-2] if text[-2] < ID["loudly"] else text[:-3] for text in fine]  # 'the old dog sees a'
    doubled = [[text[0], *text] for text in fine]  # 'the the old dog ...'
    assert np.mean(english.among(fine)) < 0.05
    for broken in (shuffled, cut, doubled):
        assert np.mean(english.among(broken)) > 0.95
    assert english.among([[]]) == [True]
    assert english.among([]) == []


def test_a_word_that_was_never_met_is_not_odd_for_that(grammar: PairDataset) -> None:
    english = BrokenEnglish.of(grammar, len(WORDS) + 1, 4)
    assert english
    text = [ID[word] for word in ["the", "old", "dog", "sees", "a", "cat", "."]]
    new = [len(WORDS) if word == ID["dog"] else word for word in text]
    told = [ID["a"] if word == ID["dog"] else word for word in text]  # a word that is known, and never stands there
    odd, odder, oddest = english.oddity.of([text, new, told])
    assert odd < odder <= math.log(len(text) + 1) < oddest


def test_the_last_tenth_of_each_corpus_is_held_out(grammar: PairDataset) -> None:
    counted, judged, unseen = (places.tolist() for places in divided(grammar))
    assert counted == [*range(900), *range(1000, 2800)]
    assert judged == [*range(900, 1000, 2), *range(2800, 3000, 2)]
    assert unseen == [*range(901, 1000, 2), *range(2801, 3000, 2)]


def test_where_too_little_is_held_out_nothing_is_judged(tmp_path: Path) -> None:
    pairs = [([4, 5], [6, 7])] * (20 * FEWEST)
    assert BrokenEnglish.of(corpus(tmp_path / "enough", pairs, [len(pairs)]), V, SPECIAL)
    few = corpus(tmp_path / "few", pairs[:-20], [len(pairs) - 20])
    assert BrokenEnglish.of(few, V, SPECIAL) is None
    rows = answer({"echo": lambda prompts: prompts}, few, [0, 1], few)
    assert [(row.figures["broken"], row.figures["judged"]) for row in rows.values()] == [(None, 0)] * 4


def test_of_a_large_corpus_some_pairs_are_counted(grammar: PairDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BrokenEnglish.of(grammar, len(WORDS), 4)
    monkeypatch.setattr("chatbot.corpus.ngrams.COUNTED_PAIRS", 100)
    some = BrokenEnglish.of(grammar, len(WORDS), 4)
    assert whole
    assert some
    counts = [english.oddity.counts(np.array([EOS_ID]), np.array([0]))[1][0, 0] for english in (whole, some)]
    assert counts[1] < counts[0] / 10
    again = BrokenEnglish.of(grammar, len(WORDS), 4)
    assert again
    assert again.bound == some.bound


def test_people_are_judged_by_what_was_not_counted(grammar: PairDataset) -> None:
    english = BrokenEnglish.of(grammar, len(WORDS), 4)
    assert english
    replies = [grammar[place][1].tolist() for place in range(901, 1000, 2)]
    english = dataclasses.replace(english, bound=float(np.median(english.oddity.of(replies))))
    rows = answer({"echo": lambda prompts: prompts}, grammar, range(850, 1050), grammar, english=english)
    found = {name: (row.figures["judged"], row.figures["broken"]) for name, row in rows.items()}
    assert found["human"] == (50, np.mean(english.among(replies)))
    assert 0.3 < found["human"][1] <= 0.5
    assert found["echo"][0] == 200
    assert found["random"] == found["frequent"] == (0, None)
    other = dataclasses.replace(english, unseen=np.empty(0, np.int64))
    rows = answer({}, PairDataset(grammar.folder, "train"), range(20), grammar, english=other)  # another split
    assert rows["human"].figures["judged"] == 20


def near(share: float, count: int) -> bool:
    """Whether the share of `count` replies is 2%, but for chance and for other subjects in other dialogues."""
    return abs(share - SHARE) < 0.01 + 3 * math.sqrt(SHARE / count)


def own_share(folder: Path, split: str) -> tuple[float, int]:
    """People's own share in a split, and of how many replies."""
    vocabulary, training = load_vocabulary(folder), PairDataset(folder, "train")
    english = BrokenEnglish.of(training, len(vocabulary), vocabulary.num_special)
    assert english
    places = divided(training)[1]
    judged = english.among([training[place][1].tolist() for place in places.tolist()])
    assert SHARE - 1 / len(judged) - 0.01 <= np.mean(judged) <= SHARE + 1 / len(judged)
    others = PairDataset(folder, split)
    return float(np.mean(english.among([reply.tolist() for _, reply in others]))), len(others)


def test_of_people_themselves_it_finds_two_in_a_hundred(prepared: Path) -> None:
    assert near(*own_share(prepared, "test"))


@pytest.mark.slow
def test_of_people_themselves_it_finds_two_in_a_hundred_of_the_sample(tiny: Config, data_dir: Path) -> None:
    assert near(*own_share(prepare(dataclasses.replace(tiny.corpus, corpus="sample"), data_dir).folder, "test"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cornell", "chitchat"])
def test_of_people_themselves_it_finds_two_in_a_hundred_of_a_real_corpus(
    name: str, corpora: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for path in corpora.iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    folder = prepare(dataclasses.replace(PRESETS["default"].corpus, corpus=name), tmp_path / "data").folder
    assert near(*own_share(folder, "test"))


def test_the_same_corpus_gives_the_same(grammar: PairDataset) -> None:
    found: list[Any] = [BrokenEnglish.of(grammar, len(WORDS), 4) for _ in range(2)]
    assert found[0].bound == found[1].bound
    texts = [reply.tolist() for _, reply in grammar]
    assert found[0].among(texts) == found[1].among(texts)
