"""Dialogues to pairs, and the split: what is together stays together, wherever it stands."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.presets import PRESETS
from chatbot.config.settings import CorpusConfig
from chatbot.corpus.formats.dialogue import Dialogue, in_pieces
from chatbot.corpus.pairs import TEST, TRAIN, VALID, Pairs, batches, pairs_of, side_of

LINEAGE = PRESETS["tutorial"].corpus


def words(pairs: Pairs) -> list[tuple[str, str]]:
    """The pairs of a batch as text again."""
    numbers = iter(pairs.numbers.tolist())
    sides = [" ".join(pairs.words[next(numbers)] for _ in range(length)) for length in pairs.lengths]
    return list(zip(sides[::2], sides[1::2], strict=True))


def said(*turns: str | None, start: int = 0) -> Dialogue:
    return Dialogue("m0", "k", list(turns), start)


def test_every_turn_is_answered_by_the_next() -> None:
    pairs = pairs_of([said("One", "two", "three"), said("four", "five")], CorpusConfig())
    assert words(pairs) == [("one", "two"), ("two", "three"), ("four", "five")]
    assert pairs.words == ["one", "two", "three", "four", "five"]
    assert (pairs.counts["pairs_read"], pairs.counts["conversations"], pairs.films) == (3, 2, {"m0"})


def test_nothing_answers_across_a_missing_turn() -> None:
    assert words(pairs_of([said("a", "b", None, "c", "d")], CorpusConfig())) == [("a", "b"), ("c", "d")]


def test_only_answers_are_learnt_as_replies_where_that_is_known() -> None:
    turns = ["a", "b", "c", "d", "e"]
    talk = Dialogue("", "", list(turns), 0, [False, True, False, True, True])
    assert words(pairs_of([talk], CorpusConfig())) == [("a", "b"), ("c", "d"), ("d", "e")]
    pairs = pairs_of([talk], CorpusConfig(context=2))
    assert words(pairs) == [("a", "b"), ("a <sep> b <sep> c", "d"), ("b <sep> c <sep> d", "e")], "context is all of it"
    assert (pairs.counts["pairs_read"], pairs.counts["pairs_short"]) == (3, 3)
    long = Dialogue("", "", [f"{i}" for i in range(600)], 0, [i % 2 == 1 for i in range(600)])
    pieces = pairs_of(list(in_pieces(long)), CorpusConfig())
    assert words(pieces) == [(f"{i}", f"{i + 1}") for i in range(0, 600, 2)]


def test_a_piece_of_a_dialogue_begins_where_it_says() -> None:
    assert words(pairs_of([said("a", "b", "c", start=1)], CorpusConfig())) == [("b", "c")]


def test_length_limits_are_inclusive_and_counted() -> None:
    config = CorpusConfig(min_length=2, max_length=3)
    pairs = pairs_of([said("a b", "a b c", "a b c d", "a b", "a")], config)
    assert words(pairs) == [("a b", "a b c")]
    assert [pairs.counts[f"pairs_{name}"] for name in ("read", "too_long", "too_short", "short")] == [4, 2, 1, 1]


@given(st.lists(st.text("ab ' .,-\t", max_size=160), min_size=2, max_size=5))
@settings(deadline=None)
def test_a_glance_at_the_beginning_of_long_turns_changes_nothing(turns: list[str]) -> None:
    """With context every turn is read to its end; without, only as far as shows that it is too long."""
    config = CorpusConfig(max_length=4)
    full = pairs_of([said(*turns)], CorpusConfig(max_length=4, context=1))
    quick = pairs_of([said(*turns)], config)
    assert words(quick) == [(prompt.split("<sep> ")[-1], reply) for prompt, reply in words(full)]
    assert quick.counts == full.counts


def test_context_is_the_turns_before_each_cut_to_its_last_words() -> None:
    config = CorpusConfig(context=2, max_length=3)
    found = words(pairs_of([said("w", "a b c d", "x", "y", "", "z", "q")], config))
    assert found == [("w <sep> b c d <sep> x", "y"), ("y <sep> z", "q")]
    assert words(pairs_of([said("a", None, "b", "c", "d")], config)) == [("b", "c"), ("b <sep> c", "d")]
    assert words(pairs_of([said("a", "b", "c", start=1)], config)) == [("a <sep> b", "c")]


def test_the_empty_string_is_a_word_only_as_a_quirk() -> None:
    assert words(pairs_of([said("123", "Yes.")], LINEAGE)) == [("", "yes .")]
    assert pairs_of([said("123", "Yes.")], LINEAGE).words == ["", "yes", "."]
    assert words(pairs_of([said("--", "Yes.")], CorpusConfig())) == []


def test_a_tab_cuts_a_field_only_as_a_quirk() -> None:
    """The lineage's file of pairs is split on tabs, whatever its csv writer quoted."""
    turns = ('Is it\t"so"?', "No.")
    assert words(pairs_of([said(*turns)], LINEAGE)) == [("is it", "so ?")]
    assert words(pairs_of([said(*turns)], CorpusConfig())) == [("is it so ?", "no .")]


SPLITS = st.sampled_from([(0.9, 0.05, 0.05), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)])


@given(st.text(), SPLITS)
def test_a_side_is_decided_by_the_name_alone(name: str, split: tuple[float, float, float]) -> None:
    side = side_of(name, split)
    assert side == side_of(name, split)
    assert split[side] > 0


def test_sides_are_the_same_on_every_machine() -> None:
    found = [side_of(f"m{number}", (0.6, 0.2, 0.2)) for number in range(12)]
    assert found == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_shares_are_what_was_asked_for() -> None:
    sides = [side_of(str(number), (0.8, 0.15, 0.05)) for number in range(20_000)]
    for side, share in ((TRAIN, 0.8), (VALID, 0.15), (TEST, 0.05)):
        assert sides.count(side) / len(sides) == pytest.approx(share, abs=0.01)


TALK = st.builds(
    Dialogue,
    st.sampled_from(["m1", "m2", "m3", ""]),
    st.sampled_from(["k1", "k2", "k3", "k4", ""]),
    st.lists(st.sampled_from(["Hi.", "Who?", "Me.", "Go on.", "No!"]), min_size=2, max_size=5),
    st.just(0),
    st.none() | st.lists(st.booleans(), min_size=5, max_size=5),
)


@given(st.lists(TALK, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_split_does_not_depend_on_order_or_batches(talks: list[Dialogue], chance: random.Random) -> None:
    config = CorpusConfig(split=(0.4, 0.3, 0.3))

    def sides(talks: list[Dialogue], turns: int) -> list[tuple[str, str, int]]:
        found = [pairs_of(batch, config) for batch in batches(talks, turns)]
        return sorted(
            (*pair, int(side)) for pairs in found for pair, side in zip(words(pairs), pairs.sides, strict=True)
        )

    shuffled = list(talks)
    chance.shuffle(shuffled)
    assert sides(talks, 1000) == sides(shuffled, 3)


def levels(talks: list[Dialogue]) -> list[tuple[int, int, int]]:
    sides = pairs_of(talks, CorpusConfig(split=(0.4, 0.3, 0.3))).sides
    return [(int(side) & 3, int(side) >> 2 & 3, int(side) >> 4 & 3) for side in sides]


def test_films_dialogues_and_questions_stay_together() -> None:
    films = [Dialogue(f"m{i % 3}", f"k{i % 5}", ["a", "b", "c"]) for i in range(15)]
    sides = levels(films)
    for i, talk in enumerate(films):
        same_film = {side[0] for j, side in enumerate(sides) if films[j // 2].film == talk.film}
        same_talk = {side[1] for j, side in enumerate(sides) if films[j // 2][:2] == talk[:2]}
        assert len(same_film) == len(same_talk) == 1, i
    asked = [Dialogue("", "", [f"Question {i % 4}?", f"answer {i}"]) for i in range(12)]
    sides = levels(asked)
    assert all(sides[i][1:] == sides[i % 4][1:] for i in range(12))
    assert len({side[1] for side in sides}) > 1


def test_a_dialogue_without_a_name_is_its_text() -> None:
    """Two that begin alike are not kept together: half of all chats begin with "hi"."""
    talks = [Dialogue("", "", ["hi", "hello", f"number {i}"]) for i in range(15)]
    assert len({side[1] for side in levels(talks)}) == 3


def test_batches_hold_every_dialogue_in_order() -> None:
    talks = [said(*"abcd"[: 2 + i % 3]) for i in range(50)]
    cut = list(batches(talks, 20))
    assert [talk for batch in cut for talk in batch] == talks
    assert all(20 <= sum(len(talk.turns) for talk in batch) < 24 for batch in cut[:-1])
