"""The rows of an evaluation: every pair answered once, in order, beside three references."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from chatbot.chat.bot import Chatbot
from chatbot.corpus.prepared import PairDataset, in_order
from chatbot.evaluation import likelihood
from chatbot.evaluation.answers import BATCHES_AT_ONCE, answer, drawn, generate
from chatbot.evaluation.likelihood import TokenSums, evaluate
from chatbot.network.model import Seq2Seq
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def test(prepared: Path) -> PairDataset:
    return PairDataset(prepared, "test")


@pytest.fixture(scope="module")
def training(prepared: Path) -> PairDataset:
    return PairDataset(prepared, "train")


def echo(prompts: list[list[int]]) -> list[list[int]]:
    return prompts


def silence(prompts: list[list[int]]) -> list[list[int]]:
    return [[] for _ in prompts]


def test_rows_are_the_decodings_and_three_references(test: PairDataset, training: PairDataset) -> None:
    indices = list(range(0, len(test), 2))
    rows = answer({"echo": echo, "silence": silence}, test, indices, training)
    assert list(rows) == ["echo", "silence", "human", "random", "frequent"]
    pairs = [[side.tolist() for side in test[index]] for index in indices]
    assert rows["echo"].replies == [prompt for prompt, _ in pairs]
    assert rows["human"].replies == [reply for _, reply in pairs]
    known = [tuple(reply.tolist()) for _, reply in training]
    assert set(map(tuple, rows["random"].replies)) <= set(known)
    assert len(set(map(tuple, rows["random"].replies))) > len(pairs) / 2
    assert set(map(tuple, rows["frequent"].replies)) == {Counter(known).most_common(1)[0][0]}
    for name, row in rows.items():
        assert len(row.replies) == row.figures["replies"] == len(pairs)
        assert row.figures["exact_repeats"] == sum(tuple(reply) in known for reply in row.replies) / len(pairs)
        assert (row.figures["pairs_per_second"] is not None) == (name in {"echo", "silence"})
    assert rows["random"].figures["exact_repeats"] == rows["frequent"].figures["generic_rate"] == 1
    assert rows["human"].figures["bleu_1"] == 1
    assert [rows["silence"].figures[f"bleu_{n}"] for n in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert {rows["silence"].figures[f"{name}_{n}"] for name in ("entropy", "distinct") for n in (1, 2)} == {None}


def test_the_entropy_is_by_all_training_replies(test: PairDataset, training: PairDataset) -> None:
    import math

    words = Counter(id for _, reply in training for id in reply.tolist())
    replies = [test[index][1].tolist() for index in range(len(test))]
    means = []
    for reply in replies:
        bits = [-math.log2(words[id] / words.total()) for id in reply if id in words]
        means += [sum(bits) / len(bits)] if bits else []
    rows = answer({}, test, range(len(test)), training)
    assert rows["human"].figures["entropy_1"] == pytest.approx(sum(means) / len(means))


def test_the_same_evaluation_finds_the_same(test: PairDataset, training: PairDataset) -> None:
    first, second = (answer({}, test, range(len(test)), training) for _ in range(2))
    assert first == second


def test_a_limit_draws_pairs_always_the_same(test: PairDataset) -> None:
    assert drawn(test, 0) == drawn(test, len(test)) == drawn(test, 10**9) == list(range(len(test)))
    some = drawn(test, 20)
    assert some == drawn(test, 20) == sorted(set(some))
    assert len(some) == 20
    assert set(some) <= set(range(len(test)))
    assert some[-1] > 20  # not the first ones


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_replies_keep_the_order_of_their_prompts(batch_size: int) -> None:
    prompts = [[number, number + 1] * (number % 5) for number in range(50)]
    slices = []

    def backwards(some: list[list[int]]) -> list[list[int]]:
        slices.append(len(some))
        return [prompt[::-1] for prompt in some]

    replies, seconds = generate(backwards, prompts, batch_size, "backwards")
    assert replies == [prompt[::-1] for prompt in prompts]
    assert seconds >= 0
    assert max(slices) == min(50, BATCHES_AT_ONCE * batch_size)


def test_a_decoding_that_loses_replies_is_found_out() -> None:
    with pytest.raises(ValueError, match="lossy gave 1 replies to 2 prompts"):
        generate(lambda prompts: prompts[:-1], [[1], [2]], 2, "lossy")


def test_a_decoding_must_not_be_called_human(test: PairDataset, training: PairDataset) -> None:
    with pytest.raises(ValueError, match="human"):
        answer({"human": echo}, test, [0], training)


def test_a_search_answers_as_the_bot_does(trained: RunDirectory, test: PairDataset) -> None:
    bot = Chatbot.load(trained.path)
    prompts = [test[index][0].tolist() for index in range(30)]
    replies = bot.generate(prompts)
    assert [bot.text(reply) for reply in replies] == bot.reply_batch(prompts)
    never = {0, 1, 2, *bot.vocabulary.never_replied}
    assert not never & {id for reply in replies for id in reply}
    assert max(map(len, replies)) <= bot.max_length + 1


def test_the_batch_size_does_not_matter(trained: RunDirectory, test: PairDataset) -> None:
    model = trained.load_chosen().build_model()
    assert len(list(in_order(test, 7, range(len(test))))) > 1
    one, other = (evaluate(model, test, "test", CPU, batch_size) for batch_size in (7, 128))
    assert all(one[name] == other[name] for name in ("pairs", "tokens", "token_accuracy"))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_an_empty_split_is_said(trained: RunDirectory, tmp_path: Path) -> None:
    from test_batches import write

    model: Seq2Seq = trained.load_chosen().build_model()
    with pytest.raises(ChatbotError, match="'valid' holds no pair"):
        evaluate(model, PairDataset(write(tmp_path, [([5], [6])]), "valid"), "valid", CPU)


def test_a_figure_that_is_not_finite_is_null(
    trained: RunDirectory, test: PairDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "held_out_sums", lambda *_: TokenSums(1600.0, 0.0, 2.0))
    written = evaluate(trained.load_chosen().build_model(), test, "test", CPU)
    assert json.loads(json.dumps(written, allow_nan=False))["perplexity"] is None
    assert written["loss"] == 800
