"""What is counted in the training replies, against counting them one by one."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_batches import write

from chatbot.corpus import prepared
from chatbot.corpus.frequencies import Frequencies, most_frequent_reply
from chatbot.corpus.prepared import PairDataset

REPLIES = st.lists(st.lists(st.sampled_from([3, 4, 5, 60_000]), max_size=4), max_size=20)


def dataset(folder: str, replies: list[list[int]], dtype: str = "uint16") -> PairDataset:
    # prompts of other lengths and ids, which must not be counted
    return PairDataset(write(Path(folder), [([7] * (i % 3), reply) for i, reply in enumerate(replies)], dtype), "train")


@settings(deadline=None)
@given(REPLIES, REPLIES, st.sampled_from([1, 2, 5, 1 << 20]), st.sampled_from(["uint16", "int32"]))
def test_shares_and_repeats_are_those_of_the_training_replies(
    training: list[list[int]], asked: list[list[int]], chunk: int, dtype: str
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(prepared, "CHUNK_IDS", chunk)
        found = Frequencies.of(dataset(folder, training, dtype), asked)
    expected = {}
    for order in (1, 2):
        grams = [
            [tuple(reply[i : i + order]) for reply in replies for i in range(len(reply) - order + 1)]
            for replies in (training, asked)
        ]
        expected |= {gram: Counter(grams[0])[gram] / len(grams[0]) for gram in grams[1] if gram in grams[0]}
    assert found.probabilities == expected
    assert found.repeated == {tuple(reply) for reply in asked if reply in training}


@settings(deadline=None)
@given(REPLIES.filter(bool), st.sampled_from([1, 5, 1 << 20]))
def test_the_commonest_reply_is_the_first_of_the_commonest(training: list[list[int]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(prepared, "CHUNK_IDS", chunk)
        found = most_frequent_reply(dataset(folder, training))
    assert tuple(found) == Counter(map(tuple, training)).most_common(1)[0][0]


def test_backward_the_prompts_are_what_is_replied(tmp_path: Path) -> None:
    write(tmp_path, [([3, 4], [5]), ([], [5]), ([3, 4], [6, 6])])
    assert most_frequent_reply(PairDataset(tmp_path, "train", backward=True)) == [3, 4]
    assert most_frequent_reply(PairDataset(tmp_path, "train")) == [5]


def test_a_bigram_does_not_reach_into_the_next_reply(tmp_path: Path) -> None:
    found = Frequencies.of(dataset(str(tmp_path), [[3, 4], [], [5, 3]]), [[4, 5], [3, 4]])
    assert found.probabilities == {(3,): 2 / 4, (4,): 1 / 4, (5,): 1 / 4, (3, 4): 1 / 2}
    assert found.repeated == {(3, 4)}


def test_large_ids_are_not_taken_for_others(tmp_path: Path) -> None:
    large = 1 << 23
    found = Frequencies.of(dataset(str(tmp_path), [[large, 3], [3, large]], "int32"), [[large, 3], [3, 3]])
    assert found.probabilities == {(large,): 1 / 2, (3,): 1 / 2, (large, 3): 1 / 2}
    assert found.repeated == {(large, 3)}
