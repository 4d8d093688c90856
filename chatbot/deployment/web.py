"""Write a bot as a folder of static files that answers in the visitor's own browser: `chatbot export --web`.

    index.html, style.css, *.js    the page that `chatbot serve` shows too; engine/ has the bot in JavaScript
    bot.json                       vocabulary, tables of text, decoding (web_facts.py)
    model.onnx                     the network, its matrices in 8 bits (web_network.py)
    runtime/                       ONNX Runtime for browsers, if it was at hand (web_runtime.py)
    manifest.json                  every other file's size and SHA-256, and golden replies
    app.webmanifest, icon.svg      so that it can be installed
    service-worker.js              so that it works offline

Nothing is written before Python has read `model.onnx` back and found the model's replies with it. Every path in the
folder is relative: it works wherever it is put.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..decoding.search import GreedySearchDecoder
from ..runs.checkpoint import Checkpoint
from ..runs.quantization import quantize
from ..system.errors import ChatbotError
from ..system.files import atomic_folder
from .manifest import MANIFEST, Golden, describe, entry_of, is_page, refuse_other_weights
from .onnx import OnnxFile, load_onnx, metadata_of, sealed
from .onnx_graph import extra
from .proof import Proof, golden_replies, prove
from .web_facts import facts_of
from .web_network import WebNetwork
from .web_runtime import Runtime

WEB_FORMAT = 1
WEB, MODEL, FACTS, WORKER = "web", "model.onnx", "bot.json", "service-worker.js"
OF_SERVERS = ('href="docs"', "docs.html", "docs.js")  # of the page: what is about the server's API
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
HEAD = (
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
    '<link rel="manifest" href="app.webmanifest">',
)
BODY = ("<noscript>The bot runs in your browser, by JavaScript, and that is switched off here.</noscript>",)
VERSION_LINE = 'const VERSION = "development";'  # of service-worker.js: the only line that an export changes


class Part(nn.Module):
    """One of the two calls of `model.onnx`, which a search calls as it calls the network's encoder or decoder."""

    def __init__(self, file: OnnxFile, *, reads: bool) -> None:
        super().__init__()
        self.file, self.reads = file, reads
        model = file.config.model
        floats, integers = torch.zeros, lambda *shape: torch.zeros(*shape, dtype=torch.int64)
        empty = integers(0, 1), integers(0), integers(0, 1), floats(model.decoder_layers, 0, model.hidden_size)
        names = "src", "src_lengths", "tokens", "hidden", "memory", "source"
        self.blank = dict(zip(names, (*empty, floats(0, 1, model.hidden_size), integers(0, 1)), strict=True))
        self.names = names[:2] if reads else names[2:]
        self.wanted = ["new_memory", "new_source", "new_hidden"] if reads else ["logits", "new_hidden", "attention"]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As `OnnxFile.forward` of an encoder's file, or of a decoder's."""
        given = {**self.blank, **dict(zip(self.names, inputs, strict=True)), "read": torch.tensor(self.reads)}
        feeds = {name: value.detach().cpu().numpy() for name, value in given.items()}
        return tuple(map(torch.from_numpy, self.file.session.run(self.wanted, feeds)))


def load_web(path: Path) -> tuple[OnnxFile, Part, Part]:
    """Open a page's `model.onnx`: the file, its encoder and its decoder.

    Raises:
        ChatbotError: as `load_onnx`.
    """
    file = load_onnx(path, WEB)
    return file, Part(file, reads=True), Part(file, reads=False)


def export_web(checkpoint: Checkpoint, folder: Path, name: str, runtime: Runtime) -> Proof:
    """Write the page of a bot of that name into `folder`/web, which is replaced as a whole.

    Raises:
        ChatbotError: the page cannot answer as the bot does, `folder` holds an export of another checkpoint, the extra
            `[onnx]` is not installed, or a file cannot be written. Then nothing is written.
    """
    extra("onnxruntime")
    refuse_other_weights(folder, [], checkpoint.digest())
    page = folder / WEB
    if page.exists() and not is_page(page):
        raise ChatbotError(f"{page} holds something that no export wrote: name a new folder with --out")
    rounded = checkpoint.quantized()
    facts = facts_of(rounded, name)
    with atomic_folder(page) as part:
        _copy_page(part)
        _write(part / FACTS, facts)
        weights: Any = quantize({name: weight.float().numpy() for name, weight in rounded.model.items()})
        network = WebNetwork(rounded.config.model, weights, len(rounded.vocabulary), rounded.never_replied)
        metadata = metadata_of(checkpoint, quantized=True)
        (part / MODEL).write_bytes(sealed(network.web_model({**metadata, "kind": WEB})))
        runtime.copy(part)
        proof, golden = _proven(rounded, part / MODEL)
        _seal(part, {**describe(checkpoint), "name": name, "runtime": runtime.describe()}, golden)
    return proof


def _proven(rounded: Checkpoint, path: Path) -> tuple[Proof, list[Golden]]:
    """What the file that was read back answers, after it was compared with the model whose weights it has."""
    _, encoder, decoder = load_web(path)
    search = GreedySearchDecoder(encoder, decoder, rounded.never_replied).eval()
    model = rounded.build_model()
    proof = prove(rounded, model, [search])
    golden = golden_replies(encoder, decoder, rounded)
    wanted = golden_replies(model.encoder, model.decoder, rounded)
    if [row.ids for row in golden] != [row.ids for row in wanted]:
        raise ChatbotError("not exported: the file reads texts otherwise than the model does")
    equal = sum(ours.reply == theirs.reply for ours, theirs in zip(golden, wanted, strict=True))
    return replace(proof, golden=equal), golden


def _copy_page(part: Path) -> None:
    """The page of `chatbot serve` with another engine: what `serving/web` has stands in the place of its namesakes."""
    serving = resources.files("chatbot.serving")
    for source, place in ((serving / "page", part), (serving / "web", part), (serving / "engine", part / "engine")):
        place.mkdir(exist_ok=True)
        for file in source.iterdir():
            if file.is_file() and file.name not in OF_SERVERS:
                (place / file.name).write_bytes(file.read_bytes())
    index = (part / "index.html").read_text("utf-8")
    lines = [line for line in index.splitlines() if OF_SERVERS[0] not in line]
    body = lines.index("  <body>") + 1
    lines[body:body] = [f"    {tag}" for tag in BODY]
    head = lines.index("  </head>")
    lines[head:head] = [f"    {tag}" for tag in HEAD]
    (part / "index.html").write_text("\n".join(lines) + "\n", "utf-8", newline="\n")


def _seal(part: Path, description: dict[str, Any], golden: list[Golden]) -> None:
    """Write the manifest, and into the service worker which version of the folder it serves."""
    files = {path: entry_of(part / path) for path in _paths(part) if path != WORKER}
    version = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    worker = (part / WORKER).read_text("utf-8")
    if worker.count(VERSION_LINE) != 1:
        raise AssertionError(f"{WORKER} has no line {VERSION_LINE}")
    (part / WORKER).write_text(worker.replace(VERSION_LINE, f'const VERSION = "{version}";'), "utf-8", newline="\n")
    files[WORKER] = entry_of(part / WORKER)
    rows = [asdict(row) for row in golden]
    _write(part / MANIFEST, {"format": WEB_FORMAT, "version": version, **description, "files": files, "golden": rows})


def _paths(part: Path) -> Iterator[str]:
    return (str(file.relative_to(part).as_posix()) for file in sorted(part.rglob("*")) if file.is_file())


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n", "utf-8", newline="\n")
