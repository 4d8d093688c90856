"""The runtime of the page that `export --web` writes: two files of the npm package onnxruntime-web, of one version.

They are copied beside the page from where npm has put them, or the page fetches them from a public host of npm's
packages; a browser takes them from there only if their digests are the ones below. Nothing of them is in this program.
"""

import base64
import contextlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.errors import ChatbotError, failing_as
from ..system.files import sha256

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# its only flavour without WebGPU, for one thread: bytes and SHA-256 of each file
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
FILES = {
    SCRIPT: (73_054, "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    BINARY: (14_239_897, "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"),
}
CDN = f"https://cdn.jsdelivr.net/npm/{PACKAGE}@{VERSION}/dist/"
FOLDER = "runtime"
PATIENCE = 600.0  # seconds for npm to fetch 33 MB


@dataclass(frozen=True)
class Runtime:
    """Where the page's runtime comes from.

    folder: one that holds its two files, or None: the page fetches them from `CDN`. told: that in words.
    """

    folder: Path | None
    told: str

    def copy(self, page: Path) -> None:
        """Put the files beside a page, if they are at hand."""
        if self.folder is not None:
            (page / FOLDER).mkdir()
            for name in FILES:
                shutil.copyfile(self.folder / name, page / FOLDER / name)

    def describe(self) -> dict[str, Any]:
        """What the page's manifest says: version, and of each file its URL, size and integrity digest."""
        base = CDN if self.folder is None else f"{FOLDER}/"
        told: dict[str, Any] = {"package": PACKAGE, "version": VERSION}
        for kind, name in (("script", SCRIPT), ("binary", BINARY)):
            size, digest = FILES[name]
            told[kind] = {"url": base + name, "bytes": size, "sha256": digest, "integrity": integrity(digest)}
        return told


def integrity(digest: str) -> str:
    """A SHA-256 as browsers want it (https://www.w3.org/TR/SRI/)."""
    return "sha256-" + base64.b64encode(bytes.fromhex(digest)).decode()


@contextlib.contextmanager
def runtime_from(where: str | None) -> Iterator[Runtime]:
    """The runtime for a page.

    Args:
        where: an unpacked package's folder; `npm`: npm fetches it now; `cdn`: it stays elsewhere. None: an installed
            one, if the working folder, one above it, or npm's global folder has one, and else as `cdn`.

    Raises:
        ChatbotError: the folder holds no such package, or another version; or npm is not there, or fails.
    """
    if where == "cdn":
        yield Runtime(None, f"from {CDN}")
    elif where == "npm":
        with tempfile.TemporaryDirectory() as scratch:
            yield Runtime(_fetched(Path(scratch)), f"{PACKAGE} {VERSION}, fetched by npm")
    elif where is not None:
        with failing_as(f"cannot read {where}"):
            folder = _dist(Path(where).expanduser())
        yield Runtime(folder, f"{PACKAGE} {VERSION}, copied from {where}")
    else:
        found = next((path for path in _installed() if _is_whole(path / "dist")), None)
        if found is None:
            yield Runtime(None, f"from {CDN} (to have it beside the page: --runtime npm, or --runtime PATH)")
        else:
            yield Runtime(found / "dist", f"{PACKAGE} {VERSION}, copied from {found}")


def _installed() -> Iterator[Path]:
    """Where npm puts packages: below the working folder and those above it, and then its global folder."""
    here = Path.cwd()
    yield from (folder / "node_modules" / PACKAGE for folder in (here, *here.parents))
    with contextlib.suppress(ChatbotError):
        yield Path(_npm("root", "--global").strip()) / PACKAGE


def _dist(package: Path) -> Path:
    """The folder of an unpacked package's files, which is looked for in what npm unpacks, too."""
    places = [package / inner for inner in ("dist", f"node_modules/{PACKAGE}/dist", "package/dist", "")]
    there = [place for place in places if (place / SCRIPT).is_file()]
    if not there:
        raise ChatbotError(
            f"{package} holds no {PACKAGE}: unpack version {VERSION} there (npm pack {PACKAGE}@{VERSION}; tar -xzf), "
            "or let npm fetch it: --runtime npm"
        )
    if not _is_whole(there[0]):
        raise ChatbotError(f"{there[0]} is not {PACKAGE} {VERSION}, or is damaged: the page takes that version only")
    return there[0]


def _is_whole(dist: Path) -> bool:
    """Whether a folder has the files of this version, with the right digests."""
    return all(
        (dist / name).is_file() and (dist / name).stat().st_size == size and sha256(dist / name) == digest
        for name, (size, digest) in FILES.items()
    )


def _fetched(scratch: Path) -> Path:
    """The package's two files, as npm fetches them from the registry that it is set to."""
    _npm("pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(scratch))
    archives = list(scratch.glob("*.tgz"))
    try:
        with tarfile.open(archives[0]) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                with (scratch / name).open("wb") as file:
                    shutil.copyfileobj(member, file)
    except (IndexError, KeyError, AssertionError, OSError, tarfile.TarError) as error:
        raise ChatbotError(f"npm fetched no {PACKAGE} {VERSION} that can be read ({error})") from error
    return _dist(scratch)


def _npm(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["npm", *arguments], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except FileNotFoundError as error:
        raise ChatbotError(
            f"npm is not installed: install it (it comes with Node.js), or name an unpacked {PACKAGE}: --runtime PATH"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChatbotError(f"npm did not run: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ChatbotError(f"npm {arguments[0]} failed: {last}")
    return done.stdout
