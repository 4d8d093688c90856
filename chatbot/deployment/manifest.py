"""What lies in an export's folder: `manifest.json` names every file with its SHA-256, and golden replies to compare."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from ..runs.checkpoint import Checkpoint
from ..system.errors import ChatbotError, shown
from ..system.files import atomic_file, sha256
from ..system.schema import Count, checked
from ..system.seal import read_sealed, sealed

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
MAX_BYTES = 4 << 20  # of a manifest, which has some 0.1 MB; of cpp/chatbot.cpp, too


@dataclass(frozen=True)
class Golden:
    """One prompt and what every client answers to it, alone in its batch.

    text: what is typed. ids: what the network reads (none: the reply is ""). reply: what is answered, by the run's own
    decoding. greedy: what greedy search answers (None in files of version 0.1, whose reply was that); tokens: its ids,
    EOS counted; scores: their log-probabilities in nats.
    """

    text: str
    ids: list[int]
    tokens: list[int]
    scores: list[float]
    reply: str
    greedy: str | None = None


class FileEntry(TypedDict):
    """Of a file: its size, and its SHA-256 in hexadecimal."""

    bytes: Count
    sha256: str


class Manifest(TypedDict):
    """What is read back of a manifest; the rest, which `describe` names, is for people and other programs."""

    format: int
    files: dict[str, FileEntry]
    golden: list[Golden]


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a client wants to know of a model, as plain data; manifests, bundles and ONNX files all tell it."""
    return {
        "checkpoint": checkpoint.digest(),
        "tokenizer": checkpoint.tokenizer.name,
        "never_replied": checkpoint.never_replied,
        "max_length": checkpoint.config.corpus.max_length,
        "step": checkpoint.step,
        "perplexity": checkpoint.perplexity,
        "parent": checkpoint.parent,
        "config": checkpoint.config.to_dict(),
    }


def write_manifest(
    folder: Path, written: Sequence[Path], description: dict[str, Any], golden: Sequence[Golden] = ()
) -> None:
    """Enter files that were just written into their folder's manifest; what it says of other files stays.

    A new manifest says `description` of the model (settings, special ids, tokenizer, versions) and its golden replies.
    """
    data: dict[str, Any] = {"format": MANIFEST_FORMAT, **description, "files": {}, "golden": golden}
    if (folder / MANIFEST).exists():
        data = read_manifest(folder)
    for file in sorted(written):
        data["files"][file.name] = entry_of(file)
    data["golden"] = [asdict(row) for row in data["golden"]]
    with atomic_file(folder / MANIFEST, "w") as manifest:
        manifest.write(json.dumps(sealed(data), indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def entry_of(file: Path) -> FileEntry:
    """What a manifest says of a file."""
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def refuse_other_weights(folder: Path, written: Sequence[Path], checkpoint: str) -> None:
    """See that a folder into which files are to be written holds no other model than the checkpoint with this digest.

    Raises:
        ChatbotError: an export of another is there, or files that no manifest tells of.
    """
    if (folder / MANIFEST).exists():
        same = read_manifest(folder).get("checkpoint") == checkpoint
    else:
        same = not any(path.suffix in (".pt", ".onnx") and path not in written for path in folder.glob("*"))
    if not same:
        raise ChatbotError(
            f"{folder} holds an export of other weights or settings, or of another version: delete it, or name a new "
            "folder with --out"
        )


def refuse_to_replace(folder: Path) -> None:
    """See that a folder is an export, or empty, or not there: nothing else is to be lost by writing it anew.

    Raises:
        ChatbotError: it holds something that no export wrote.
    """
    ours = {MANIFEST}
    if (folder / MANIFEST).is_file():
        ours |= read_manifest(folder)["files"].keys()
    # hidden files are the desktop's, or what a killed export left
    other = [path.name for path in sorted(folder.glob("[!.]*")) if path.name not in ours and not is_made(path)]
    if folder.is_file():
        other = [folder.name]
    if other:
        raise ChatbotError(f"{folder} holds {other[0]}, which no export wrote: name a new folder with --out")


def is_page(folder: Path) -> bool:
    """Whether a folder is what `export --web` wrote."""
    return (folder / MANIFEST).is_file() and (folder / "service-worker.js").is_file()


def is_repository(folder: Path) -> bool:
    """Whether a folder is what `export --triton` wrote."""
    models = list(folder.glob("[!.]*"))
    return bool(models) and all(
        {file.name for file in model.glob("*")} == {"config.pbtxt", "1"} and (model / "1" / "model.onnx").is_file()
        for model in models
    )


def is_made(folder: Path) -> bool:
    """Whether an export wrote a folder as a whole."""
    return is_page(folder) or is_repository(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export's folder.

    Raises:
        ChatbotError: it is missing, damaged, or of another format version.
    """
    path = folder / MANIFEST
    try:
        data = read_sealed(path, MAX_BYTES)
        version = data["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChatbotError(f"cannot read the manifest {path}: {error}; export again") from error
    if version != MANIFEST_FORMAT:
        raise ChatbotError(f"{path} has format {shown(version)}, this program reads {MANIFEST_FORMAT}: export again")
    try:
        manifest: dict[str, Any] = checked(Manifest, data, "it")
    except ChatbotError as error:
        raise ChatbotError(f"cannot read the manifest {path}: {error}; export again") from error
    return manifest


def check(path: Path) -> bool:
    """Whether a file's folder has a manifest; if it has, the file's bytes are those that it says.

    Raises:
        ChatbotError: they are others, the file is not in the manifest, or the manifest is damaged.
    """
    if not (path.parent / MANIFEST).exists():
        return False
    entry = read_manifest(path.parent)["files"].get(path.name)
    if entry is None:
        raise ChatbotError(f"{path} is not in the manifest beside it: export again")
    if sha256(path) != entry["sha256"]:
        raise ChatbotError(f"{path} is not the file that its manifest describes (SHA-256 differs): export again")
    return True
