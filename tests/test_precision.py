"""Double precision is the host's: a device without it (Apple's GPU) is never asked for any."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import chatbot.decoding.beam as beam
import chatbot.decoding.sampling as sampling
import chatbot.training.data as data
import chatbot.training.loop as training
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.prepared import PairDataset
from chatbot.decoding.generate import log_likelihood
from chatbot.evaluation.likelihood import evaluate
from chatbot.network.model import Seq2Seq
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.loop import train

LEAVES = {"cpu", "tolist", "item", "numpy", "__bool__", "__int__", "__float__"}  # calls whose result is the host's


class OnDevice(Tensor):
    """A tensor as if on such a device. What is computed of it is there too, until a call brings it to the host."""

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in LEAVES:
            with torch._C.DisableTorchFunctionSubclass():
                found = func(*args, **(kwargs or {}))
                return found.as_subclass(Tensor) if isinstance(found, Tensor) else found
        found = super().__torch_function__(func, types, args, kwargs)
        for tensor in found if isinstance(found, tuple | list) else (found,):
            assert not (isinstance(tensor, Tensor) and tensor.dtype == torch.float64), f"{func} gives float64"
        return found


def moved(model: Seq2Seq) -> Seq2Seq:
    """The model with its weights on that device."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            module.register_parameter(name, nn.Parameter(parameter.detach().as_subclass(OnDevice)))
    return model


@pytest.fixture(autouse=True)
def as_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (beam, sampling):
        monkeypatch.setattr(room, "precise", lambda values: values.float())


def test_the_check_sees_a_double_and_lets_the_host_have_one() -> None:
    tensor = torch.ones(3).as_subclass(OnDevice)
    assert tensor.cpu().double().sum().dtype == torch.float64
    with pytest.raises(AssertionError, match="float64"):
        (tensor + 1).double()
    with pytest.raises(AssertionError, match="float64"):
        torch.zeros((), dtype=torch.float64).add_(tensor.sum())


def test_training_asks_for_none(tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "Seq2Seq", lambda *arguments: moved(Seq2Seq(*arguments)))
    seen = []
    look = training.Trainer._look

    def looked(self: training.Trainer) -> float:
        seen.extend(type(cost) for cost in self.costs)
        return look(self)

    monkeypatch.setattr(training.Trainer, "_look", looked)
    config = dataclasses.replace(
        tiny, training=dataclasses.replace(tiny.training, steps=6, validate_every=6, weight_averaging=0.0)
    )
    train(config, prepared, RunDirectory(tmp_path / "run"), Group())
    assert set(seen) == {OnDevice}


def test_evaluation_likelihood_and_every_search_ask_for_none(trained: RunDirectory, prepared: Path) -> None:
    checkpoint = trained.load_chosen()
    model = moved(checkpoint.build_model())
    dataset = PairDataset(prepared, "test")
    plain = evaluate(checkpoint.build_model(), dataset, "test", torch.device("cpu"))
    assert evaluate(model, dataset, "test", torch.device("cpu"))["loss"] == plain["loss"]
    assert log_likelihood(model, [[5, 6]], [[7]]).dtype == torch.float64
    bot = Chatbot.from_model(model, checkpoint.config, checkpoint.vocabulary)
    limits = {"min_length": 2, "no_repeat_ngram": 2, "repetition_penalty": 1.2, "anti_lm": 0.3}
    for decoding in (
        DecodingConfig(**limits),  # type: ignore[arg-type]
        DecodingConfig(method="beam", length_penalty=0.5, **limits),  # type: ignore[arg-type]
        DecodingConfig(method="sample", samples=3, top_k=20, top_p=0.9, **limits),  # type: ignore[arg-type]
        DecodingConfig(method="sample", top_p=0.9),
    ):
        assert len(bot.reply_batch(["Hello.", "How are you?"], decoding=decoding)) == 2
