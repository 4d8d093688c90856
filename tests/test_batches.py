"""Prepared arrays to batches: every pair once, in an order that a position resumes."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.settings import TrainingConfig
from chatbot.corpus.figures import load_figures
from chatbot.corpus.prepared import PairDataset, in_order, load_vocabulary
from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID, Vocabulary
from chatbot.network.batch import collate, pad_prompts
from chatbot.system.errors import ChatbotError
from chatbot.training.epoch import Epoch
from chatbot.training.steps import BatchSampler, StepData, StepReader, permuted, step_seed
from chatbot.training.tutorial import ReplacementSampler

Pairs = list[tuple[list[int], list[int]]]
IDS = st.lists(st.integers(3, 60_000), max_size=6)


def write(folder: Path, pairs: Pairs, dtype: str = "uint16", parts: dict[str, tuple[float, int]] | None = None) -> Path:
    """A prepared folder by hand, straight from the description of the layout.

    parts: of a mixture's corpora the name, the weight and how many of the pairs are its own, in order.
    """
    folder.mkdir(exist_ok=True)
    parts = parts or {"some": (1.0, len(pairs))}
    sizes: dict[str, Any] = {}
    for split, chosen in {"train": pairs, "valid": [], "test": []}.items():
        sides = [side for pair in chosen for side in pair]
        flat = [id for side in sides for id in side]
        np.array(flat, {"uint16": "<u2", "int32": "<i4"}[dtype]).tofile(folder / f"{split}.ids")
        np.cumsum([0, *map(len, sides)]).astype("<i8").tofile(folder / f"{split}.offsets")
        by_part = [size if chosen else 0 for _, size in parts.values()]
        sizes[split] = {"pairs": len(chosen), "tokens": len(flat), "by_part": by_part}
    sources = [{"name": name, "weight": weight, "is_old": False} for name, (weight, _) in parts.items()]
    figures = {"format": 3, "dtype": dtype, "splits": sizes, "sources": sources}
    (folder / "prepared.json").write_text(json.dumps(figures))
    words = max((id for pair in pairs for side in pair for id in side), default=0) + 1
    (folder / "vocabulary.txt").write_text(
        "".join(["<pad>\n<sos>\n<eos>\nhello\n", *(f"w{i}\n" for i in range(4, words))])
    )
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
    monkeypatch.setattr("chatbot.corpus.prepared.CHUNK_IDS", chunk)
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


def change(folder: Path, old: str, new: str) -> None:
    """Other words in the figures, which are there."""
    figures = (folder / "prepared.json").read_text()
    assert old in figures
    (folder / "prepared.json").write_text(figures.replace(old, new))


def test_the_pairs_of_each_corpus_are_known(tmp_path: Path) -> None:
    folder = write(tmp_path, SOME, parts={"films": (1.0, 1), "chats": (0.5, 0), "sample": (10.0, 3)})
    assert PairDataset(folder, "train").parts == [
        ("films", 1.0, range(0, 1), False),
        ("chats", 0.5, range(1, 1), False),
        ("sample", 10.0, range(1, 4), False),
    ]
    assert [len(part.indices) for part in PairDataset(folder, "valid").parts] == [0, 0, 0]
    change(folder, '"name": "films"', '"name": "sample"')
    with pytest.raises(ChatbotError, match="is damaged"):
        PairDataset(folder, "train")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "prepared.json").unlink(), "run: make prepare"),
        (lambda folder: (folder / "prepared.json").write_text("{"), "holds no prepared corpus"),
        (lambda folder: (folder / "prepared.json").write_text("[" * 100_000), "holds no prepared corpus"),
        (lambda folder: (folder / "prepared.json").write_text('{"format": 99}'), "has format 99"),
        (lambda folder: (folder / "prepared.json").write_text('{"format": 3}'), "is damaged"),
        (lambda folder: change(folder, '"weight": 1.0', '"weight": 0'), "is damaged"),
        (lambda folder: change(folder, '"weight": 1.0', '"weight": NaN'), "is damaged"),
        (lambda folder: change(folder, '"by_part": [4]', '"by_part": [3]'), "is damaged"),
        (lambda folder: change(folder, '"by_part": [4]', '"by_part": [5, -1]'), "is damaged"),
        (lambda folder: change(folder, '"by_part": [4]', '"by_part": []'), "is damaged"),
        (
            lambda folder: change(folder, '"sources": [', '"sources": [{"name": "x", "weight": 1, "is_old": false}, '),
            "is damaged",
        ),
        (lambda folder: (folder / "train.ids").write_bytes(b"123"), "has 3 bytes and should have 24"),
        (lambda folder: (folder / "train.offsets").unlink(), "cannot read .*train.offsets"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    write(tmp_path, SOME)
    damage(tmp_path)
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


@pytest.mark.parametrize("bucket_batches", [1, 4, 64, 1000])
def test_an_epoch_has_every_pair_once(many: PairDataset, bucket_batches: int) -> None:
    sampler = BatchSampler(many, 16, seed=3, bucket_batches=bucket_batches)
    for epoch in (0, 1):
        batches = epoch_of(sampler, epoch)
        assert len(batches) == len(sampler) == 63
        assert sorted(np.concatenate(batches).tolist()) == list(range(1003))
    assert epoch_of(sampler, 0)[0].tolist() != epoch_of(sampler, 1)[0].tolist()


@pytest.mark.parametrize("bucket_batches", [1, 4, 64, 1000])
def test_a_step_has_its_batch_whenever_it_is_asked_for(many: PairDataset, bucket_batches: int) -> None:
    sampler = BatchSampler(many, 16, seed=3, bucket_batches=bucket_batches)
    whole = [sampler[step].tolist() for step in range(140)]
    assert whole[63:126] == [batch.tolist() for batch in epoch_of(sampler, 1)]
    for step in (139, 0, 62, 63, 64, 130):
        assert BatchSampler(many, 16, seed=3, bucket_batches=bucket_batches)[step].tolist() == whole[step]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([0.001, 0.1, 0.5, 1.0, 2.0, 2.5, 10.0]), st.integers(0, 60)), min_size=1),
    st.integers(1, 9),
    st.sampled_from([1, 4]),
)
def test_a_pair_comes_as_often_as_the_weight_of_its_corpus_says(
    tmp_path_factory: pytest.TempPathFactory, corpora: list[tuple[float, int]], batch_size: int, bucket_batches: int
) -> None:
    parts = {f"corpus {number}": corpus for number, corpus in enumerate(corpora)}
    pairs: Pairs = [([5] * (index % 7), [6]) for index in range(sum(size for _, size in corpora))]
    dataset = PairDataset(write(tmp_path_factory.mktemp("mixture"), pairs, parts=parts), "train")
    epoch = Epoch(dataset)
    places = [max(1, round(weight * size)) if size else 0 for weight, size in corpora]
    assert len(epoch) == sum(places)
    if not len(epoch):
        return
    sampler = BatchSampler(dataset, batch_size, seed=3, bucket_batches=bucket_batches)
    assert len(sampler) == -(-sum(places) // batch_size)
    shown: Counter[int] = Counter()
    for number in range(4):
        shown.update(np.concatenate(epoch_of(sampler, number)).tolist())
        first = 0
        for (_, size), each in zip(corpora, places, strict=True):
            times = [shown[index] for index in range(first, first + size)]
            # as often as can be, and none of them twice more than another
            assert sum(times) == (number + 1) * each
            assert not times or max(times) - min(times) <= 1
            first += size


@pytest.mark.parametrize(
    ("weight", "times"), [(0.5, [1, 1, 2, 2, 3]), (2.5, [3, 5, 8, 10, 13]), (3.0, [3, 6, 9, 12, 15])]
)
def test_a_broken_weight_evens_out_over_epochs(tmp_path: Path, weight: float, times: list[int]) -> None:
    pairs: Pairs = [([5], [6])] * 40
    folder = write(tmp_path, pairs, parts={"films": (1.0, 30), "sample": (weight, 10)})
    sampler = BatchSampler(PairDataset(folder, "train"), 8, seed=1, bucket_batches=2)
    shown: Counter[int] = Counter()
    for epoch, most in enumerate(times):
        shown.update(np.concatenate(epoch_of(sampler, epoch)).tolist())
        assert {shown[index] for index in range(30)} == {epoch + 1}
        of_sample = [shown[index] for index in range(30, 40)]
        assert max(of_sample) == most
        assert sum(of_sample) == 10 * weight * (epoch + 1)


def test_one_corpus_alone_is_drawn_as_it_was_before_there_were_mixtures(many: PairDataset) -> None:
    sampler = BatchSampler(many, 16, seed=3, bucket_batches=4)
    for epoch, bucket in ((0, 0), (2, 15)):
        places = np.arange(bucket * 64, min(bucket * 64 + 64, 1003))
        order = permuted(places, 1003, np.random.default_rng([3, epoch]))  # places of the order are the pairs
        prompts, replies = many.lengths(order)
        order = order[np.lexsort((prompts, replies))]
        batches = [order[start : start + 16] for start in range(0, len(order), 16)]
        np.random.default_rng([3, epoch, bucket]).shuffle(batches)
        first = epoch * len(sampler) + 4 * bucket
        assert [sampler[first + i].tolist() for i in range(len(batches))] == [batch.tolist() for batch in batches]
    drawn = ReplacementSampler(Epoch(many), 50, seed=3)[70]
    assert drawn.tolist() == np.random.default_rng([3, 70]).integers(1003, size=50).tolist()


def test_drawn_anew_a_corpus_has_the_share_of_its_weight(tmp_path: Path) -> None:
    folder = write(tmp_path, [([5], [6])] * 100, parts={"films": (1.0, 90), "sample": (9.0, 10)})
    sampler = ReplacementSampler(Epoch(PairDataset(folder, "train")), 500, seed=1)
    drawn = Counter(index for step in range(20) for index in sampler[step].tolist())
    assert sum(drawn[index] for index in range(90)) == pytest.approx(5000, abs=250)  # five standard deviations
    assert len(drawn) == 100


def test_in_buckets_of_one_batch_lengths_are_mixed(many: PairDataset) -> None:
    spread = {
        size: np.mean(
            [np.ptp(many.lengths(batch)[1]) for batch in epoch_of(BatchSampler(many, 16, 3, bucket_batches=size))]
        )
        for size in (1, 64)
    }
    assert spread[1] > 9 > 1 > spread[64]


def test_drawn_anew_a_batch_is_a_sample_of_all_pairs(many: PairDataset) -> None:
    sampler = ReplacementSampler(Epoch(many), 500, seed=3)
    first, second = sampler[0], sampler[1]
    assert len(first) == len(second) == 500
    assert first.tolist() == ReplacementSampler(Epoch(many), 500, seed=3)[0].tolist() != second.tolist()
    assert 300 < len(set(first.tolist())) < 480  # 394 different ones of 1003 are expected
    assert first.max() > 900 > 100 > first.min()


def epoch_of(sampler: BatchSampler, epoch: int = 0) -> list[np.ndarray]:
    return [sampler[step] for step in range(epoch * len(sampler), (epoch + 1) * len(sampler))]


WORDS = Vocabulary.from_words([*".,", *(f"w{id}" for id in range(7, 50))], unknown=True, separator=True)


def reader(pairs: PairDataset, rank: int = 0, size: int = 1, **changes: object) -> StepReader:
    settings = TrainingConfig(**{"batch_size": 16, "prompt_dropout": 0.0, **changes})  # type: ignore[arg-type]
    return StepReader(pairs, settings, WORDS, rank, size)


def rows(data: StepData) -> list[tuple[list[int], list[int]]]:
    return [
        (src[:size].tolist(), tgt[1:length].tolist())
        for part in (part.batch for part in data.parts)
        for src, size, tgt, length in zip(part.src, part.src_lengths, part.tgt, part.tgt_lengths, strict=True)
    ]


@pytest.mark.parametrize("alone", [0.0, 0.5])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_processes_share_a_batch_and_agree_on_its_tokens(many: PairDataset, accumulate: int, alone: float) -> None:
    sizes = [len(batch) for batch in epoch_of(reader(many).sampler)]
    for step in (sizes.index(16), sizes.index(11)):  # one of the epoch's batches is a short one
        whole = reader(many, prompts_as_replies=alone)[step]
        shares = [reader(many, rank, 3, accumulate=accumulate, prompts_as_replies=alone)[step] for rank in range(3)]
        assert sorted(row for share in shares for row in rows(share)) == sorted(rows(whole))
        assert sum(share.pairs for share in shares) == whole.pairs == len(rows(whole))
        assert {share.tokens for share in shares} == {whole.tokens} == {len(whole.parts[0].batch.targets)}
        assert all(len(share.parts) == accumulate for share in shares)


def test_a_process_without_a_pair_has_nothing_to_do(tmp_path: Path) -> None:
    data = reader(PairDataset(write(tmp_path, SOME[:1]), "train"), rank=1, size=2)[0]
    assert (data.parts, data.pairs, data.tokens) == ([], 0, 2)


def test_word_dropout_touches_words_of_prompts_only(many: PairDataset) -> None:
    plain, dropped = (reader(many, word_dropout=share)[7].parts[0].batch for share in (0.0, 0.5))
    changed = dropped.src != plain.src
    assert 0.3 < changed.float().mean() / (plain.src >= 5).float().mean() < 0.7
    assert set(dropped.src[changed].tolist()) == {3}
    assert torch.equal(dropped.tgt, plain.tgt)
    assert torch.equal(dropped.targets, plain.targets)
    assert torch.equal(dropped.src, reader(many, word_dropout=0.5)[7].parts[0].batch.src)


def test_mark_dropout_shows_some_prompts_without_their_marks(tmp_path: Path) -> None:
    dot, comma, sep = 5, 6, 4
    pairs = [([20, dot, sep, 10 + n % 7, comma, 9, dot], [30, dot]) for n in range(320)] + [([dot], [30])] * 16
    shown = reader(PairDataset(write(tmp_path, pairs), "train"), mark_dropout=0.25)
    found = [row for step in range(21) for row in rows(shown[step])]
    bare = [prompt for prompt, _ in found if len(prompt) == 5]
    assert 0.18 < len(bare) / 320 < 0.32
    assert all(prompt[:3] == [20, dot, sep] and not {dot, comma} & {*prompt[3:]} for prompt in bare)  # context stays
    assert sum(prompt == [dot] for prompt, _ in found) == 16  # what would be left is no prompt
    assert {tuple(reply) for _, reply in found} == {(30, dot), (30,)}


def test_prompt_dropout_shows_some_prompts_empty(many: PairDataset) -> None:
    found = [row for step in range(50) for row in rows(reader(many, prompt_dropout=0.25)[step])]
    assert sorted(reply for _, reply in found) == sorted(
        reply for step in range(50) for _, reply in rows(reader(many)[step])
    )
    assert 0.2 < sum(prompt == [EOS_ID] for prompt, _ in found) / len(found) < 0.3


def test_some_prompts_are_shown_as_replies_to_nothing(tmp_path: Path) -> None:
    # prompts of 10 to 19 and replies of 20 to 29; every third prompt has an unknown word, every sixth is empty
    pairs = [([] if n % 6 == 1 else [10 + n % 10] + [3] * (n % 3 == 0), [20 + n % 10, 20]) for n in range(600)]
    found = [
        row
        for step in range(30)
        for row in rows(reader(PairDataset(write(tmp_path, pairs), "train"), prompts_as_replies=0.4)[step])
    ]
    alone = [reply for _, reply in found if reply[0] < 20]
    assert all(len(reply) == 1 for reply in alone), "not with an unknown word"
    assert all(prompt == [EOS_ID] for prompt, reply in found if reply in alone)
    assert len(alone) / len(found) == pytest.approx(0.4 / 2, abs=0.05)  # half of the prompts can be
    kept = [(prompt, reply) for prompt, reply in found if reply not in alone]
    assert all((prompt if prompt != [EOS_ID] else [], reply) in pairs for prompt, reply in kept)


def test_word_dropout_grows_over_the_first_epochs_and_that_of_prompts_does_not(many: PairDataset) -> None:
    def shares(step: int) -> tuple[float, float]:
        prompts = words = unknown = empty = 0
        for seed in range(30):
            one = reader(many, prompt_dropout=0.3, word_dropout=0.4, dropout_warmup_epochs=2, seed=seed)
            for prompt, _ in rows(one[step]):
                prompts, empty = prompts + 1, empty + (prompt == [EOS_ID])
                words, unknown = words + len(prompt), unknown + prompt.count(3)
        return empty / prompts, unknown / words

    epoch = len(reader(many).sampler)
    assert [shares(step)[0] for step in (0, epoch, 9 * epoch)] == [pytest.approx(0.3, abs=0.08)] * 3
    grown = [shares(step)[1] for step in (0, epoch, 2 * epoch, 9 * epoch)]
    assert grown[0] == 0
    assert grown[1] == pytest.approx(grown[3] / 2, abs=0.05)
    assert grown[2] == pytest.approx(grown[3], abs=0.05)
    assert grown[3] > 0.3


def test_a_backward_dataset_has_its_sides_exchanged(tmp_path: Path) -> None:
    folder = write(tmp_path, SOME)
    forward, backward = PairDataset(folder, "train"), PairDataset(folder, "train", backward=True)
    assert [(list(one), list(other)) for one, other in backward] == [(list(b), list(a)) for a, b in forward]
    assert [sizes.tolist() for sizes in backward.lengths(np.arange(4))] == [
        sizes.tolist() for sizes in reversed(forward.lengths(np.arange(4)))
    ]


def test_step_seeds_differ_in_everything() -> None:
    seeds = {step_seed(*key) for key in itertools.product((0, 1), (0, 1, 2), (0, 1), ("words", "dropout"))}
    assert len(seeds) == 24
    assert all(0 <= seed < 1 << 63 for seed in seeds)


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 1 << 40), st.data())
def test_an_order_is_a_permutation_and_its_parts_are_those_of_the_whole(
    count: int, seed: int, data: st.DataObject
) -> None:
    whole = permuted(np.arange(count), count, np.random.default_rng(seed))
    assert sorted(whole.tolist()) == list(range(count))
    places = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=9)), np.int64)
    assert permuted(places, count, np.random.default_rng(seed)).tolist() == whole[places].tolist()


def test_an_order_looks_random() -> None:
    orders = np.array([permuted(np.arange(100), 100, np.random.default_rng(seed)) for seed in range(2000)])
    # each number at each place about 20 times of 2,000: chi-square of 99 degrees of freedom, 99.99% below 161
    for place in (0, 1, 50, 99):
        counts = np.bincount(orders[:, place], minlength=100)
        assert ((counts - 20) ** 2 / 20).sum() < 161
    # and neighbours do not stay neighbours
    assert 0.012 < (np.abs(np.diff(orders, axis=1)) == 1).mean() < 0.028


def test_an_order_of_billions_is_made_where_it_is_needed() -> None:
    count = 5_000_000_000
    some = permuted(np.arange(count - 1000, count), count, np.random.default_rng(0))
    assert len(set(some.tolist())) == 1000
    assert 0 <= some.min() < 0.01 * count < 0.99 * count < some.max() < count


def test_buckets_keep_padding_small(many: PairDataset) -> None:
    real = padded = 0
    for batch in epoch_of(BatchSampler(many, 16, seed=3, bucket_batches=64)):
        for lengths in many.lengths(batch):
            real += int(lengths.sum())
            padded += int(lengths.max()) * len(lengths)
    assert real / padded > 0.7


def test_evaluation_sees_every_pair_once_in_one_order(many: PairDataset) -> None:
    batches = list(in_order(many, 16, range(1003)))
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert batches == list(in_order(many, 16, range(1003)))
    some = list(in_order(many, 16, range(500, 540)))
    assert sorted(index for batch in some for index in batch) == list(range(500, 540))


def test_a_missing_preparation_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="make prepare"):
        load_figures(tmp_path / "nowhere")
