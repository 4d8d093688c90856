"""`--batch-size auto`: how large a batch is, and what of the recipe goes with it."""

import dataclasses
import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from small_run import Small, make_small, no_pictures

from chatbot.__main__ import main
from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.training.batch_size import picked, scaled

CPU, CUDA = map(torch.device, ("cpu", "cuda"))
DEFAULT = PRESETS["default"]


def of_memory(gigabytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: Mock(total_memory=int(gigabytes * (1 << 30)))
    )


def with_steps(steps: int) -> Config:
    return dataclasses.replace(DEFAULT, training=dataclasses.replace(DEFAULT.training, steps=steps))


def test_it_grows_with_the_gpus_memory_and_the_schedule_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for gigabytes in (0.25, 1, 2, 4, 140):
        of_memory(gigabytes, monkeypatch)
        sizes.append(picked(with_steps(20_000), 8_000, CUDA))
    assert sizes[0] == 64
    assert sizes == sorted(sizes)
    assert sizes[-1] == 1024
    assert len(set(sizes)) > 3
    assert picked(DEFAULT, 8_000, CUDA) == 256  # of 3,000 steps 750 are left
    assert picked(with_steps(100), 8_000, CUDA) == 64
    of_memory(4, monkeypatch)
    assert picked(with_steps(20_000), 8_000, CUDA, processes=4) > picked(with_steps(20_000), 8_000, CUDA)
    assert picked(with_steps(20_000), 80_000, CUDA) < picked(with_steps(20_000), 8_000, CUDA)
    assert picked(DEFAULT, 8_000, CPU) == 64


def test_the_recipe_reads_as_many_pairs_at_a_higher_rate() -> None:
    before = DEFAULT.training
    after = scaled(before, 1024)
    assert after.steps * 1024 == pytest.approx(before.steps * 64, rel=0.01)
    assert after.learning_rate == 4 * before.learning_rate
    # what decays over the whole training stays what it is, and so does the average's memory in pairs
    decay, earlier = (one.learning_rate * one.weight_decay * one.steps for one in (after, before))
    assert decay == pytest.approx(earlier, rel=0.01)
    assert after.weight_averaging ** (1 / 16) == pytest.approx(before.weight_averaging)
    assert scaled(before, 64) == before


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        return make_small(tmp_path_factory.mktemp("small"))


def test_a_run_keeps_the_size_that_was_picked(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    no_pictures(monkeypatch)
    lengths: list[int] = []
    monkeypatch.setattr(
        "chatbot.training.batch_size.picked", lambda config, *_: lengths.append(config.corpus.max_length) or 64
    )
    assert small.train(tmp_path, "--batch-size", "auto", "--steps", "2", "--max-length", "auto") == 0
    assert lengths == [12]  # by which the memory of a batch is reckoned: what auto came to mean, and not 0
    assert "batches of 64 pairs: 2 steps" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["batch_size"] == 64


def test_what_is_no_number_is_one_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--batch-size", "many"])
    assert "number or auto" in capsys.readouterr().err
