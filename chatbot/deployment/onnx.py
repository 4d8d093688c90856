"""Write a model as ONNX files, prove that they answer like it, and run such files in ONNX Runtime.

    chatbot.onnx                  greedy search on the whole network, one graph
    encoder.onnx, decoder.onnx    the network's two calls, for beam search or sampling outside torch
    chatbot.int8.onnx, ...        the same three with 8-bit matrices (runs/quantization.py)

ONNX is data: opening a stranger's file runs none of his code. Each file is complete in itself. Its metadata_props
(strings) hold what text needs: `format`, `kind`, `weights` (fp32 or int8), `tokenizer`, `max_length`, `context`,
`step`, `checkpoint` (its digest, the same in files of one export), and as JSON `vocabulary` (tokens in order of their
ids), `written` (the forms of those that text does not have in lower case), `special` (ids by name), `never_replied`,
`config` and `perplexity`. The last of them, `sha256`, is the digest of all bytes before it.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import torch
from torch import Tensor, nn

from ..config.settings import Config
from ..corpus.tokenizer import tokenizer_named
from ..corpus.vocabulary import Vocabulary
from ..decoding.search import GreedySearchDecoder, SearchResult
from ..runs.checkpoint import Checkpoint
from ..runs.quantization import quantize
from ..system.errors import ChatbotError, first_line, shown
from ..system.files import atomic_file, named, regular
from ..system.schema import Count, checked
from .manifest import describe, refuse_other_weights, write_manifest
from .onnx_graph import extra
from .onnx_network import Network
from .proof import Proof, prove

ONNX_FORMAT = 1
KINDS = ("greedy", "encoder", "decoder")
# The entry of metadata_props that ends a file, as protobuf writes it: key, value's length, and 64 digits follow. A
# protobuf message may be continued by appending to it, so the seal is added to a finished file without parsing it.
SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"


class _Newer(TypedDict, total=False):
    """What files of version 0.1 do not say."""

    written: dict[str, str]


class Facts(_Newer):
    """What is read back of a file's metadata."""

    format: int
    kind: str
    checkpoint: str
    tokenizer: str
    max_length: Count
    never_replied: list[Count]
    vocabulary: list[str]
    config: dict[str, Any]


def _read(metadata: Mapping[str, str]) -> Facts:
    """Metadata as plain data: texts as they stand, the rest as the JSON that it is."""
    if (version := metadata.get("format")) != str(ONNX_FORMAT):
        raise ValueError(f"it has format {shown(version)}, this program reads {ONNX_FORMAT}; export again")
    kinds = get_type_hints(Facts)
    read = {name: metadata[name] for name in kinds.keys() & metadata.keys()}
    data = {name: text if kinds[name] is str else json.loads(text) for name, text in read.items()}
    facts: Facts = checked(Facts, data, "its metadata")
    return facts


class OnnxFile(nn.Module):
    """A file that was opened, with what its metadata says; it is called like the part of the network that it holds.

    Raises:
        ValueError, RecursionError, ChatbotError: the metadata are not those of `kind`, or not what an export writes.
    """

    def __init__(self, session: Any, kind: str) -> None:
        super().__init__()
        self.session = session
        self.names = [end.name for end in session.get_inputs()]
        facts = _read(session.get_modelmeta().custom_metadata_map)
        if facts["kind"] != kind:
            raise ValueError(f"its kind is {shown(facts['kind'])}, and {kind} is wanted")
        self.config = Config.from_dict(facts["config"])
        self.vocabulary = Vocabulary(facts["vocabulary"], facts.get("written", {}))
        self.tokenizer = tokenizer_named(facts["tokenizer"])
        self.max_length = self.config.corpus.max_length
        self.never_replied = facts["never_replied"]
        self.checkpoint = facts["checkpoint"]  # its digest
        allowed: list[list[int]] = [[], self.vocabulary.never_replied]
        if facts["max_length"] != self.max_length or self.never_replied not in allowed:
            raise ValueError("its metadata do not go together; export again")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """An encoder: src, src_lengths -> memory, source, hidden, rows in any order. A decoder, one token (B, 1) at a
        time: tokens, hidden, memory, source -> logits, hidden, attention."""
        given = {name: value.detach().cpu().numpy() for name, value in zip(self.names, inputs, strict=True)}
        return tuple(map(torch.from_numpy, self.session.run(None, given)))

    def search(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """Greedy search by a file of that kind: src (B, S) int64 padded with PAD, src_lengths (B,)."""
        return SearchResult(*self(src, src_lengths, torch.tensor(max_length)))


def onnx_paths(folder: Path, quantized: bool = False) -> tuple[Path, Path, Path]:
    """The files of greedy search, encoder and decoder."""
    suffix = ".int8.onnx" if quantized else ".onnx"
    return folder / f"chatbot{suffix}", folder / f"encoder{suffix}", folder / f"decoder{suffix}"


def export_onnx(checkpoint: Checkpoint, folder: Path, *, quantized: bool = False) -> Proof:
    """Write the three ONNX files of a checkpoint, after they were read back and compared with the eager model.

    In fp32 the replies must be the model's; in int8 nearly all of their tokens. The folder's manifest names them too.

    Raises:
        ChatbotError: they are not (then nothing is written), the folder holds an export of another checkpoint, the
            extra `[onnx]` is not installed, or a file cannot be written.
    """
    extra("onnxruntime")  # rather missed now than when all is written
    written = onnx_paths(folder, quantized)
    metadata = metadata_of(checkpoint, quantized)
    refuse_other_weights(folder, written, metadata["checkpoint"])
    weights: Any = {name: weight.float().numpy() for name, weight in checkpoint.model.items()}
    weights = quantize(weights) if quantized else weights
    network = Network(checkpoint.config.model, weights, len(checkpoint.vocabulary), checkpoint.never_replied)
    makers = (network.greedy_model, network.encoder_model, network.decoder_model)
    with contextlib.ExitStack() as stack:
        paths = []
        for kind, make, path in zip(KINDS, makers, written, strict=True):
            file = stack.enter_context(atomic_file(path))
            file.write(sealed(make({**metadata, "kind": kind})))
            file.flush()
            paths.append(Path(file.name))
        greedy, encoder, decoder = map(load_onnx, paths, KINDS)
        search = GreedySearchDecoder(encoder, decoder, checkpoint.never_replied).eval()
        proof = prove(checkpoint, checkpoint.build_model(), [greedy.search, search], quantized=quantized)
    write_manifest(folder, written, {"checkpoint": metadata["checkpoint"]})
    return proof


def metadata_of(checkpoint: Checkpoint, quantized: bool) -> dict[str, str]:
    """What the files say of a checkpoint: all but the `kind`, in which they differ."""
    facts = {
        **describe(checkpoint),
        "format": ONNX_FORMAT,
        "weights": "int8" if quantized else "fp32",
        "context": checkpoint.config.corpus.context,
        "vocabulary": checkpoint.vocabulary.tokens,
        "written": checkpoint.vocabulary.written,
        "special": checkpoint.vocabulary.special_ids,
    }
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()}


def sealed(content: bytes) -> bytes:
    """A file's content with its digest behind it."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def load_onnx(path: Path, kind: str) -> OnnxFile:
    """Open what `export_onnx` wrote, in as many threads as torch works with. Nothing in it is run but operators.

    Args:
        kind: what is wanted, greedy, encoder or decoder.

    Raises:
        ChatbotError: it is missing, damaged, another program's, or of another format; or ONNX Runtime is not installed.
    """
    runtime = extra("onnxruntime")
    try:
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        # on shared cores threads that spin while they wait slow everything down
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = runtime.InferenceSession(_opened(path), options, providers=["CPUExecutionProvider"])
        return OnnxFile(session, kind)
    except Exception as error:  # a damaged file makes the reader fail in every way there is
        raise ChatbotError(f"cannot read the ONNX file {path}: {first_line(error)}") from error


def _opened(path: Path) -> bytes:
    """The content of a file whose seal is whole."""
    with regular(named(path)) as file:
        content = file.read()
    if content != sealed(content[: -len(SEAL) - 64]):
        raise ValueError("it is damaged, or another program wrote it; export again")
    return content
