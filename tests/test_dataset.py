"""Prepared arrays to batches: every pair once, in an order that a position resumes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.dataset import BatchSampler, collate, in_order, pad_prompts
from chatbot.errors import ChatbotError
from chatbot.prepared import PairDataset, load_manifest, load_vocabulary
from chatbot.vocabulary import EOS_ID, PAD_ID, SOS_ID

Pairs = list[tuple[list[int], list[int]]]
IDS = st.lists(st.integers(3, 60_000), max_size=6)


def write(folder: Path, pairs: Pairs, dtype: str = "uint16") -> Path:
    """A prepared folder by hand, straight from the description of the layout."""
    folder.mkdir(exist_ok=True)
    sizes = {}
    for split, chosen in {"train": pairs, "valid": [], "test": []}.items():
        sides = [side for pair in chosen for side in pair]
        flat = [id for side in sides for id in side]
        np.array(flat, {"uint16": "<u2", "int32": "<i4"}[dtype]).tofile(folder / f"{split}.ids")
        np.cumsum([0, *map(len, sides)]).astype("<i8").tofile(folder / f"{split}.offsets")
        sizes[split] = {"pairs": len(chosen), "tokens": len(flat)}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "dtype": dtype, "splits": sizes}))
    (folder / "vocabulary.txt").write_text("<pad>\n<sos>\n<eos>\nhello\n")
    return folder


SOME: Pairs = [([5, 6], [7]), ([], [8, 9, 10]), ([11], []), ([12, 13, 14], [15, 16])]


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_pairs_come_back_as_they_were_written(tmp_path: Path, dtype: str) -> None:
    dataset = PairDataset(write(tmp_path, SOME, dtype), "train")
    assert len(dataset) == 4
    assert dataset.num_tokens == 12
    assert [(list(prompt), list(reply)) for prompt, reply in dataset] == SOME
    prompts, replies = dataset.lengths(np.array([3, 0]))
    assert (prompts.tolist(), replies.tolist()) == ([3, 2], [2, 1])
    with pytest.raises(IndexError):
        dataset[4]


@pytest.mark.parametrize("chunk", [1, 4, 7, 1 << 20])
@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_replies_come_in_order_whatever_the_chunks(
    tmp_path: Path, dtype: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.prepared.CHUNK_IDS", chunk)
    dataset = PairDataset(write(tmp_path, SOME, dtype), "train")
    found = []
    for ids, bounds in dataset.replies():
        assert (bounds[0], bounds[-1], ids.dtype) == (0, len(ids), np.int64)
        found += [ids[start:end].tolist() for start, end in itertools.pairwise(bounds)]
    assert found == [reply for _, reply in SOME]


def test_an_empty_split_has_no_pairs(tmp_path: Path) -> None:
    empty = PairDataset(write(tmp_path, SOME), "valid")
    assert len(empty) == 0
    assert list(empty.replies()) == []
    assert load_vocabulary(tmp_path).tokens[3] == "hello"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "run: make prepare"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "holds no prepared corpus"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "holds no prepared corpus"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 99}'), "has format 99"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1}'), "is damaged"),
        (lambda folder: (folder / "train.ids").write_bytes(b"123"), "has 3 bytes and should have 24"),
        (lambda folder: (folder / "train.offsets").unlink(), "cannot read .*train.offsets"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, says: str) -> None:
    write(tmp_path, SOME)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(ChatbotError, match=says):
        PairDataset(tmp_path, "train")


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8))
def test_a_batch_holds_every_pair_padded_and_shifted(pairs: Pairs) -> None:
    batch = collate(pairs)
    assert batch.src_lengths.tolist() == sorted((max(len(prompt), 1) for prompt, _ in pairs), reverse=True)
    assert batch.tgt.shape == (len(pairs), int(batch.tgt_lengths.max()))
    targets = iter(batch.targets.tolist())
    found = []
    for src, size, tgt, length in zip(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths, strict=True):
        assert set(src[size:].tolist()) <= {PAD_ID}
        assert set(tgt[length:].tolist()) <= {PAD_ID}
        assert tgt[0] == SOS_ID
        said = [next(targets) for _ in range(int(length))]
        assert said[-1] == EOS_ID
        assert tgt[1:length].tolist() == said[:-1]
        prompt = src[:size].tolist()
        found.append(([] if prompt == [EOS_ID] else prompt, said[:-1]))
    assert sorted(found) == sorted(pairs)
    assert next(targets, None) is None


def test_prompts_are_padded_in_the_order_given() -> None:
    src, lengths = pad_prompts([[5], [], [6, 7]])
    assert src.tolist() == [[5, PAD_ID], [EOS_ID, PAD_ID], [6, 7]]
    assert lengths.tolist() == [1, 1, 2]
    assert src.dtype == torch.int64


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> PairDataset:
    rng = np.random.default_rng(0)
    pairs: Pairs = [([7] * int(rng.integers(1, 13)), [8] * int(rng.integers(1, 13))) for _ in range(1003)]
    return PairDataset(write(tmp_path_factory.mktemp("many"), pairs), "train")


def test_an_epoch_has_every_pair_once(many: PairDataset) -> None:
    sampler = BatchSampler(many, 16, seed=3)
    for epoch in (0, 1):
        batches = sampler.epoch(epoch)
        assert len(batches) == len(sampler) == 63
        assert sorted(np.concatenate(batches).tolist()) == list(range(1003))
    assert sampler.epoch(0)[0].tolist() != sampler.epoch(1)[0].tolist()


@pytest.mark.parametrize("step", [0, 1, 62, 63, 64, 130])
def test_a_position_continues_the_same_order(many: PairDataset, step: int) -> None:
    sampler = BatchSampler(many, 16, seed=3)
    whole = sampler.batches(0)
    for _ in range(step):
        next(whole)
    resumed = BatchSampler(many, 16, seed=3).batches(step)
    for _ in range(5):
        assert next(whole).tolist() == next(resumed).tolist()


def test_buckets_keep_padding_small(many: PairDataset) -> None:
    real = padded = 0
    for batch in BatchSampler(many, 16, seed=3).epoch(0):
        for lengths in many.lengths(batch):
            real += int(lengths.sum())
            padded += int(lengths.max()) * len(lengths)
    assert real / padded > 0.7


def test_evaluation_sees_every_pair_once_in_one_order(many: PairDataset) -> None:
    batches = list(in_order(many, 16))
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert batches == list(in_order(many, 16))


def test_a_missing_preparation_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="make prepare"):
        load_manifest(tmp_path / "nowhere")
