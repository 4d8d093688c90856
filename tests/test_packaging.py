"""What is installed: the wheel alone, in another folder, is the whole program."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import chatbot
from chatbot import __main__ as door
from chatbot.runs import directory
from chatbot.system import errors

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

from check import ROOT, copy_of_checkout

PYPROJECT = (ROOT / "pyproject.toml").read_text()


def run(command: list[object], folder: Path, **environment: str) -> str:
    """Run in `folder` without the checkout in sight; returns what it printed on stdout."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_version_is_told_everywhere() -> None:
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0] == chatbot.__version__
    assert f'version: "{chatbot.__version__}"' in (ROOT / "CITATION.cff").read_text()
    assert 'dynamic = ["version"]' in PYPROJECT


def test_the_pythons_that_are_declared_are_those_that_make_takes() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", PYPROJECT)
    assert declared == ["3.10", "3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.10,<3.14"' in PYPROJECT
    assert "(3, 10) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("asked", "in_a_checkout", "installed"),
    [
        ({"verb": "chat", "run": "x"}, "make chat RUN=x", "chatbot chat x"),
        ({"verb": "train", "corpus": "sample"}, "make train CORPUS=sample", "chatbot train --corpus sample"),
        (
            {"verb": "train", "run": "x", "flags": "--resume"},
            "make train RUN=x ARGS=--resume",
            "chatbot train --run x --resume",
        ),
        (
            {"verb": "evaluate", "run": "my run", "flags": "--corpus PATH"},
            "make evaluate RUN='my run' ARGS='--corpus PATH'",
            "chatbot evaluate 'my run' --corpus PATH",
        ),
    ],
)
def test_messages_tell_what_can_be_typed_where_the_program_is(
    asked: dict[str, str],
    in_a_checkout: str,
    installed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert errors.command(**asked) == in_a_checkout
    monkeypatch.setattr(errors, "MAKEFILE", tmp_path / "Makefile")
    monkeypatch.setattr(directory, "BOX", tmp_path / "nowhere")
    assert errors.command(**asked) == installed
    assert door.main(["chat", "--checkpoints-dir", str(tmp_path)]) == 2
    assert "chatbot train --corpus sample" in capsys.readouterr().err


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive of a copy of the checkout, and the wheel that is made of that archive."""
    folder = tmp_path_factory.mktemp("built")
    source = copy_of_checkout(tmp_path_factory.mktemp("source"))
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run([sys.executable, "-c", program], source)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    run([*pip, "--no-index", "-w", folder, folder / archive.name.removesuffix(".tar.gz")], folder)
    return folder


@pytest.mark.slow
def test_the_source_archive_is_the_checkout(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sources:
        held = {name.partition("/")[2] for name in sources.getnames() if sources.getmember(name).isfile()}
    checkout = copy_of_checkout(tmp_path)
    expected = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    left_out = {name for name in expected if name.startswith((".ci/", "checkpoints/"))}
    made = {name for name in held if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert held - made | left_out == expected


@pytest.mark.slow
def test_the_wheel_holds_the_program_the_sample_and_the_bot_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(f"chatbot-{chatbot.__version__}.dist-info/METADATA").decode()
        assert f"chatbot-{chatbot.__version__}.dist-info/licenses/LICENSE" in archive.namelist()
    sample = {f"chatbot/sample/{path.name}" for path in (ROOT / "data" / "sample").iterdir()}
    box = {f"chatbot/pretrained/{name}" for name in ("MODEL_CARD.md", "best.pt", "config.json", "vocabulary.txt")}
    files = {path for path in (ROOT / "chatbot").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert held == {str(path.relative_to(ROOT)) for path in files} | sample | box
    assert "Requires-Python: <3.14,>=3.10" in metadata
    assert "License-Expression: MIT" in metadata


@pytest.mark.slow
def test_an_installed_wheel_trains_talks_and_exports_elsewhere(built: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    run([*pip, "--target", site, next(built.glob("*.whl"))], tmp_path)

    def installed(*words: object) -> str:
        return run([site / "bin" / "chatbot", *words], elsewhere, PYTHONPATH=str(site))

    where = "import chatbot, chatbot.corpus.sources as sources; print(chatbot.__file__); print(sources.SAMPLE)"
    found = run([sys.executable, "-c", where], elsewhere, PYTHONPATH=str(site)).split()
    assert found == [str(site / "chatbot" / "__init__.py"), str(site / "chatbot" / "sample")]
    assert installed("--version") == f"chatbot {chatbot.__version__}\n"
    assert installed("train", "--corpus", "sample", "--steps", 3, "--hidden-size", 16) == ""
    assert installed("chat", "--prompt", "hello", "--min-length", 1).strip()
    installed("export")
    assert installed("chat", "checkpoints/sample/export/chatbot.pt", "--prompt", "hello", "--min-length", 1).strip()
    assert {path.name for path in elsewhere.iterdir()} == {"data", "checkpoints"}
