"""Checkpoints: whole, or refused in one line; nothing in them is run and no number in them allocates."""

import dataclasses
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from chatbot.chat.bot import Chatbot
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the trained run that a test may damage."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def refused(path: Path) -> str:
    with pytest.raises(ChatbotError) as caught:
        Checkpoint.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def rewritten(path: Path, change: Callable[[dict], object]) -> None:
    data = torch.load(path, weights_only=True)
    change(data)
    torch.save(data, path)


def test_one_file_rebuilds_model_vocabulary_and_settings(trained: RunDirectory, tmp_path: Path) -> None:
    shutil.copy(trained.best, tmp_path / "elsewhere.pt")
    bot = Chatbot.load(tmp_path / "elsewhere.pt")
    assert bot.reply("Hello.") == Chatbot.load(trained.best).reply("Hello.")
    copy = Checkpoint.load(trained.best)
    copy.save(tmp_path / "copy.pt")
    again = Checkpoint.load(tmp_path / "copy.pt")
    assert again.config == copy.config
    assert again.vocabulary.tokens == copy.vocabulary.tokens
    assert all(torch.equal(again.model[name], tensor) for name, tensor in copy.model.items())


def test_the_shared_embedding_is_stored_once(trained: RunDirectory) -> None:
    checkpoint = Checkpoint.load(trained.best)
    stored = {tensor.data_ptr(): tensor.nbytes for tensor in checkpoint.model.values()}
    largest = max(stored.values())  # the embedding
    assert trained.best.stat().st_size < sum(stored.values()) + largest // 2


def test_a_checkpoint_cut_anywhere_is_refused(run: RunDirectory) -> None:
    whole = run.best.read_bytes()
    for sixteenth in range(16):
        run.best.write_bytes(whole[: len(whole) * sixteenth // 16])
        refused(run.best)


def test_one_flipped_bit_is_found(run: RunDirectory) -> None:
    whole = run.best.read_bytes()
    with zipfile.ZipFile(run.best) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    for at in (largest.header_offset + 4096, largest.header_offset + largest.file_size // 2):
        run.best.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert "damaged" in refused(run.best)


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("it-ran"),))


def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run.best.write_bytes(pickle.dumps(Bomb()))
    refused(run.best)
    torch.save({"format": 1, "model": Bomb()}, run.best)
    refused(run.best)
    assert not Path("it-ran").exists()


def test_a_compressed_archive_is_refused_before_it_unfolds(run: RunDirectory) -> None:
    with zipfile.ZipFile(run.best, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert "compressed" in refused(run.best)


def test_a_future_format_says_so(run: RunDirectory) -> None:
    rewritten(run.best, lambda data: data.update(format=99))
    assert "99" in refused(run.best)


def test_a_setting_of_a_later_version_says_so(run: RunDirectory) -> None:
    rewritten(run.best, lambda data: data["config"]["training"].update(patience_of_tomorrow=3))
    message = refused(run.best)
    assert "newer version" in message
    assert "training.patience_of_tomorrow" in message


@pytest.mark.parametrize("key", ["config", "vocabulary", "prompts", "step", "training"])
def test_a_missing_or_senseless_part_is_refused(run: RunDirectory, key: str) -> None:
    whole = run.best.read_bytes()
    rewritten(run.best, lambda data: data.pop(key))
    refused(run.best)
    if key != "training":
        run.best.write_bytes(whole)
        rewritten(run.best, lambda data: data.update({key: {"a": [None]}}))
        refused(run.best)


def test_sizes_that_the_weights_do_not_have_are_refused_without_allocating(run: RunDirectory) -> None:
    def swell(data: dict) -> None:
        data["config"]["model"] |= {"hidden_size": 8192, "encoder_layers": 16, "decoder_layers": 16}

    rewritten(run.best, swell)  # such a model would take 80 GB
    with pytest.raises(ChatbotError, match="do not fit"):
        Checkpoint.load(run.best).build_model()


def test_a_digest_is_of_settings_that_differ_from_their_defaults(
    trained: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint.load(trained.best)
    before = checkpoint.digest()
    named = {"hidden_size", "dropout", "recurrent_dropout", "scale_embeddings", "copy_mechanism"}
    assert set(checkpoint.config.unlike_defaults()["model"]) == named
    everything = checkpoint.config.to_dict()
    everything["model"]["added_later"] = False
    monkeypatch.setattr(type(checkpoint.config), "to_dict", lambda config: everything)
    assert checkpoint.digest() == before, "a setting that is added changes none"
    changed = dataclasses.replace(checkpoint.config.model, attention_mask=False)
    checkpoint.config = dataclasses.replace(checkpoint.config, model=changed)
    assert checkpoint.digest() != before
