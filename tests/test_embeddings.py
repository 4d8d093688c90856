"""Word vectors of a file: which rows of the embedding they move, and how; which files are read, and which refused."""

import contextlib
import dataclasses
import gzip
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config
from chatbot.corpus.prepared import load_vocabulary
from chatbot.corpus.vocabulary import EOS, PAD, SOS, UNK, Vocabulary
from chatbot.network.kernels.embedding import Embedding
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.embeddings import SHARE, begin_with
from chatbot.training.loop import Trainer

WORDS = [f"word{number}" for number in range(40)]
VOCABULARY = Vocabulary([PAD, SOS, EOS, UNK, *WORDS, "boston", "new"], {"boston": "Boston"})
PLAIN = [(word, vector) for word, vector in zip(WORDS, np.random.default_rng(1).normal(size=(40, 6)), strict=True)]
BOSTON = ("Boston", np.arange(6.0))


def line(word: str, vector: np.ndarray) -> str:
    return f"{word} {' '.join(map(str, vector))}\n"


def text(*more: tuple[str, np.ndarray]) -> str:
    return "".join(line(*pair) for pair in [*PLAIN, ("elsewhere", np.ones(6)), *more])


def begun(path: Path, size: int = 16, *, tied: bool = True) -> tuple[torch.Tensor, torch.Tensor, int]:
    """An embedding's rows as they are drawn, and after the file; and how many words that has."""
    torch.manual_seed(3)
    embedding = Embedding(len(VOCABULARY), size, tied=tied, scaled=False)
    drawn = embedding.weight.detach().clone()
    count = begin_with(embedding, VOCABULARY, path)
    return drawn, embedding.weight.detach(), count


def without_what_all_share(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 without their mean and two leading directions, by a singular value decomposition."""
    vectors = vectors - vectors.mean(axis=0)
    left, values, right = np.linalg.svd(vectors, full_matrices=False)
    vectors = left[:, 2:] * values[2:] @ right[2:]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("tied", "length"), [(True, 1.0), (False, 4.0)])
def test_rows_have_the_angles_of_the_vectors_without_what_all_have_in_common(
    tied: bool, length: float, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text())
    drawn, rows, count = begun(path, tied=tied)
    assert count == 40
    first = VOCABULARY.num_special
    moved = (rows - (1 - SHARE**2) ** 0.5 * drawn)[first : first + 40].double().numpy() / SHARE
    vectors = without_what_all_share(np.array([vector for _, vector in PLAIN]))
    assert np.allclose(moved @ moved.T, length**2 * vectors @ vectors.T, atol=1e-4 * length**2)


def test_more_numbers_than_a_row_has_about_keep_their_angles(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    wide = np.random.default_rng(2).normal(size=(40, 400))
    wide[20:] = wide[:20] + 0.3 * wide[20:]  # pairs that are alike
    path.write_text("".join(line(word, vector) for word, vector in zip(WORDS, wide, strict=True)))
    drawn, rows, _ = begun(path, size=256)
    moved = ((rows - (1 - SHARE**2) ** 0.5 * drawn)[VOCABULARY.num_special :][:40] / SHARE).numpy()
    expected = without_what_all_share(wide)
    assert np.abs(moved @ moved.T - expected @ expected.T).max() < 0.2
    assert np.diagonal(moved @ moved.T, 20).min() > 0.7


def test_other_rows_stay_as_they_were_drawn(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text((UNK, np.ones(6)), (PAD, np.ones(6))))
    drawn, rows, _ = begun(path)
    same = (drawn == rows).all(dim=1)
    assert same.nonzero().flatten().tolist() == [
        *range(VOCABULARY.num_special),
        *(VOCABULARY.ids[w] for w in ("boston", "new")),
    ]


@pytest.mark.parametrize(
    "written",
    [
        lambda plain: plain.encode(),
        lambda plain: gzip.compress(plain.encode()),
        lambda plain: f"{plain.count(chr(10))} 6\n{plain}".encode(),  # word2vec's text files begin so
        lambda plain: plain.replace("\n", " \n").encode(),  # fastText's lines end so
        lambda plain: plain.replace("\n", "\r\n").replace(" ", "\t").encode(),
        lambda plain: b"\xef\xbb\xbf" + plain.encode(),
        lambda plain: plain.replace("word1 ", "word1 and word2 1 2 3 4 5 6\nword1 ", 1).encode() + b"\xff\xfe 1 2 3\n",
        lambda plain: plain.encode() + line("boston", np.ones(6)).encode() + line("word3", np.ones(6)).encode(),
    ],
    ids=["plain", "gzip", "word2vec", "fasttext", "tabs", "a byte-order mark", "odd words", "words that come again"],
)
def test_the_same_vectors_in_the_ways_that_programs_write_them(written: Callable[[str], bytes], tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.txt", tmp_path / "other"
    plain.write_text(text(BOSTON))
    other.write_bytes(written(text(BOSTON)))
    (_, expected, _), (_, rows, count) = begun(plain), begun(other)
    assert count == 41  # Boston is how the bot writes boston
    assert torch.equal(rows, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"word1 1 2 3 4 5\nword2 1 x 3 4 5\n", ":2: 'word2' is not followed by numbers only"),
        (b"word1 1 2 3 4 5\nword2 1 2\n", ":2: 'word2' has 2 numbers, where 5 are expected"),
        (b"word1\n", ":1: 'word1' is followed by 0 numbers; a word vector has from 5 to 16,384"),
        (b"word1 1061396\n", ":1: 'word1' is followed by 1 numbers; a word vector has from 5 to 16,384"),
        (b"word1 1 2 3 4 5\nword2 1 nan 3 4 5\n", ":2: the vector of 'word2' has a number that is not finite"),
        (b"word1 1 2 3 4 5\nword2 1 1e99 3 4 5\n", ":2: the vector of 'word2' has a number that is not finite"),
        (b"other 1 2 3 4 5\nword1 1 2 3 4 5\n", " has 1 words of the vocabulary"),
        (b"", " has 0 words of the vocabulary"),
        (bytes(1 << 21), ":1: too long for a text file"),
        (b"word1 " + b"1 " * 20_000, ":1: 'word1' is followed by 20,000 numbers; a word vector has from 5 to 16,384"),
        (gzip.compress(text().encode())[:-400], " is a damaged or unsupported archive"),
        (gzip.compress(b"")[:10] + b"\x07" + bytes(100), " is a damaged or unsupported archive"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(ChatbotError) as caught:
        begun(path)
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_vectors_of_any_size_have_directions(scale: float, tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.txt", tmp_path / "vectors.txt"
    plain.write_text(text())
    path.write_text("".join(line(word, vector * scale) for word, vector in PLAIN))
    (_, expected, _), (_, rows, _) = begun(plain), begun(path)
    assert torch.allclose(rows, expected, atol=1e-4)


def test_vectors_that_are_all_alike_move_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("".join(line(word, np.ones(6)) for word in WORDS))
    drawn, rows, count = begun(path)
    assert count == 40
    assert torch.equal(drawn, rows)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder with a corpus and word vectors of it, and the flags of a short training there."""
    monkeypatch.chdir(tmp_path)
    letters = [f"{first}{second}" for first in "bcdfg" for second in "aeiou"]
    Path("mine.tsv").write_text("".join(f"say {word} !\tso : {word} .\n" for word in letters))
    Path("vectors.txt").write_text("".join(line(word, PLAIN[n][1]) for n, word in enumerate(letters[:20])))
    small = [
        "--hidden-size",
        "8",
        "--encoder-layers",
        "1",
        "--decoder-layers",
        "1",
        "--min-count",
        "1",
        "--device",
        "cpu",
    ]
    return ["train", "--run", "run", *small, "--preset", "default"]


def test_a_training_begins_with_them_and_goes_on_without_the_file(
    here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin = [*here, "--corpus", "mine.tsv", "--embeddings", "vectors.txt", "--steps", "4"]
    assert main(begin) == 0
    said = capsys.readouterr().err
    words = Chatbot.load("checkpoints/run").vocabulary
    found = sum(row.split()[0] in words.ids for row in Path("vectors.txt").read_text().splitlines())
    assert found > 10
    assert f"embeddings    {found} words begin with the vectors of vectors.txt" in said.replace("\r", "\n")
    Path("vectors.txt").unlink()
    assert main(["train", "--run", "run", "--resume", "--steps", "6", "--device", "cpu"]) == 0
    assert "embeddings " not in capsys.readouterr().err


def test_every_row_of_the_training_is_what_the_file_makes_of_it(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    words = load_vocabulary(prepared).tokens
    path = tmp_path / "vectors.txt"
    path.write_text("".join(line(word, vector) for word, (_, vector) in zip(words[10:], PLAIN, strict=False)))
    weights = {}
    for embeddings in ("", str(path)):
        training = dataclasses.replace(tiny.training, embeddings=embeddings)
        run = RunDirectory(tmp_path / f"run{len(embeddings)}")
        config = dataclasses.replace(tiny, training=training)
        with contextlib.closing(Trainer(config, prepared, run, Group())) as trainer:
            begun = weights[embeddings] = trainer.model.state_dict()
            assert all(torch.equal(value, begun[name]) for name, value in trainer.judged.state_dict().items())
    plain, begun = weights.values()
    assert {name for name in plain if not torch.equal(plain[name], begun[name])} <= {
        "encoder.embedding.weight",
        "decoder.embedding.weight",
        "decoder.out.weight",  # they are one
    }
    moved = (plain["encoder.embedding.weight"] != begun["encoder.embedding.weight"]).any(dim=1)
    assert moved.nonzero().flatten().tolist() == list(range(10, 50))


def test_of_processes_that_train_together_the_first_reads_the_file(
    here: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus", "mine.tsv", "--embeddings", "vectors.txt", "--steps", "2", "--processes", "2"]
    assert main([*here, *flags]) == 0
    assert capfd.readouterr().err.count("words begin with the vectors") == 1


def test_processes_that_train_together_begin_with_the_rows_of_the_first() -> None:
    shares = """if True:
        import sys, torch
        from chatbot.training.distributed import Group
        group = Group.join(torch.device("cpu"))
        rows = torch.nn.Parameter(torch.full((3, 2), float(group.rank + 1)))
        group.share(rows)
        group.wait()
        group.close()
        print(rows.tolist())
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", shares], stdout=subprocess.PIPE, text=True, env=os.environ | meeting | rank
        )
        for rank in ({"RANK": "0"}, {"RANK": "1"})
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]"] * 2


def test_mistakes_are_told_before_the_corpus_is_read(here: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*here, "--corpus", "mine.tsv", "--embeddings", "none.txt"]) == 2
    assert "there is no file none.txt, from which --embeddings would take word vectors" in capsys.readouterr().err
    assert (
        main(["train", "--run", "r", "--corpus", "mine.tsv", "--from", "pretrained", "--embeddings", "vectors.txt"])
        == 2
    )
    assert "--embeddings does not go with --from" in capsys.readouterr().err
    assert not Path("data/prepared").exists()
    assert not Path("checkpoints").exists()
