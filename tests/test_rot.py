"""Bits that rot: one flipped bit at 50 places of every file that is read back. Each is noticed before the file is used,
or changes nothing of what is read."""

import dataclasses
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import assert_equal

from chatbot.config.settings import Config
from chatbot.corpus import preparation
from chatbot.corpus.figures import CONTENT
from chatbot.deployment import manifest, onnx
from chatbot.deployment.onnx import export_onnx, onnx_paths
from chatbot.deployment.torchscript import export
from chatbot.runs.archive import check_bundle_archive
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import BOX, RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.files import sha256
from chatbot.system.seal import read_sealed, sealed

PLACES = 50
NOTICED = "noticed"


def rotten(path: Path, read: Callable[[], Any], places: int = PLACES) -> list[Any]:
    """What `read` gives of a file for each of so many flipped bits, spread over it; NOTICED where it is refused."""
    whole, found = path.read_bytes(), []
    try:
        for number in range(places):
            at = (2 * number + 1) * len(whole) // (2 * places)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << number % 8]) + whole[at + 1 :])
            try:
                found.append(read())
            except (ChatbotError, ValueError, OSError, zlib.error, zipfile.BadZipFile):
                found.append(NOTICED)
    finally:
        path.write_bytes(whole)
    return found


def all_noticed_or_equal(found: list[Any], whole: Any, least: int) -> None:
    for one in found:
        if one is not NOTICED:  # where the checksum's own key has rotted, it stands beside what is whole
            assert_equal({key: one[key] for key in whole} if isinstance(whole, dict) else one, whole)
    assert sum(one is NOTICED for one in found) >= least


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "last.previous.pt"])
def test_checkpoints(name: str, run: RunDirectory) -> None:
    path = run.path / name

    def read() -> Any:
        return vars(Checkpoint.load(path)) | {"config": None}

    assert Checkpoint.load(path).config
    all_noticed_or_equal(rotten(path, read), read(), PLACES * 3 // 4)


def test_the_bot_in_the_box(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    shutil.copy(BOX / "best.pt", path)
    found = rotten(path, lambda: Checkpoint.load(path).digest(), 8)
    all_noticed_or_equal(found, Checkpoint.load(path).digest(), 7)


def test_settings_of_a_run(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """What may be edited is told, what may not be is refused when the run is resumed; `differences` tells both."""
    whole = run.load_chosen().config
    assert capsys.readouterr().err == ""

    def read() -> Any:
        config = Config.load(run.config)
        used = run.load_chosen().config
        told = capsys.readouterr().err
        assert (used.decoding != whole.decoding) == ("was edited since the training" in told)
        return dataclasses.asdict(dataclasses.replace(used, decoding=whole.decoding)), config

    for one in rotten(run.config, read, 4 * PLACES):
        assert one is NOTICED or one[0] == dataclasses.asdict(whole)


@pytest.mark.parametrize("name", [*CONTENT, "prepared.json"])
def test_prepared_data(name: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    whole = preparation._intact(folder)
    assert whole
    found = rotten(folder / name, lambda: preparation._intact(folder) or NOTICED)
    all_noticed_or_equal(found, whole, PLACES if name != "prepared.json" else PLACES * 3 // 4)


def test_kept_figures_and_caches(tmp_path: Path) -> None:
    path, plain = tmp_path / "kept.json", {"step": 7, "rows": {"human": {"broken": 0.25, "text": "caf\u00e9"}}}
    path.write_text(json.dumps(sealed(plain), indent=1))
    all_noticed_or_equal(rotten(path, lambda: read_sealed(path, 1 << 20)), plain, PLACES * 3 // 4)


@pytest.fixture(scope="module")
def exported(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rot") / "export"
    export(trained.load_chosen(), folder)
    return folder


def test_an_export(exported: Path) -> None:
    bundle = exported / "chatbot.pt"
    assert rotten(bundle, lambda: manifest.check(bundle)) == [NOTICED] * PLACES
    whole = manifest.read_manifest(exported)
    golden = [row.reply for row in whole["golden"]]

    def read() -> Any:
        manifest.check(bundle)
        found = manifest.read_manifest(exported)
        return {**found, "golden": [row.reply for row in found["golden"]]}

    all_noticed_or_equal(rotten(exported / "manifest.json", read), {**whole, "golden": golden}, PLACES * 3 // 4)


def test_an_exported_file_without_its_manifest(exported: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "alone.pt"
    shutil.copy(exported / "chatbot.pt", bundle)

    def members() -> dict[str, bytes]:
        check_bundle_archive(bundle)
        with zipfile.ZipFile(bundle) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    all_noticed_or_equal(rotten(bundle, members), members(), PLACES * 3 // 4)


def test_onnx_files(trained: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    export_onnx(trained.load_chosen(), tmp_path)
    for path in onnx_paths(tmp_path):
        assert rotten(path, lambda path=path: onnx._opened(path)) == [NOTICED] * PLACES


def test_a_page(trained: RunDirectory, tmp_path: Path) -> None:
    """Its engine, in JavaScript, compares what it fetches with the manifest (tests/test_web_page.py): all is there."""
    pytest.importorskip("onnxruntime")
    web = pytest.importorskip("chatbot.deployment.web")
    from chatbot.deployment.web_runtime import runtime_from

    with runtime_from("cdn") as runtime:
        web.export_web(trained.load_chosen(), tmp_path, "bot", runtime)
    page = tmp_path / "web"
    files = json.loads((page / "manifest.json").read_text())["files"]
    there = {str(file.relative_to(page)) for file in page.rglob("*") if file.is_file()}
    assert there - files.keys() == {"manifest.json"}
    assert all(sha256(page / name) == entry["sha256"] for name, entry in files.items())
