"""The ONNX files of a model: written, read back, compared with the model; and run, in ONNX Runtime.

    chatbot.onnx                  greedy search on the whole network, one graph
    encoder.onnx, decoder.onnx    the network's two calls, for a beam or sampling outside torch
    chatbot.int8.onnx, ...        the same three with matrices of bytes (`quantization`)

ONNX is data: opening a file of a stranger runs none of his code. Each file is complete in itself. Its metadata_props
(strings) hold what text needs: `format`, `kind`, `weights` (fp32 or int8), `tokenizer`, `max_length`, `context`,
`step`, `checkpoint` (its digest, the same in files of one export), and as JSON `vocabulary` (tokens in order of their
ids), `special` (ids by name), `never_replied`, `config` and `perplexity`. The last of them, `sha256`, is the digest of
all bytes before it.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.settings import Config
from ..corpus.tokenizer import TOKENIZERS, Tokenizer
from ..corpus.vocabulary import Vocabulary
from ..decoding.search import GreedySearchDecoder, SearchResult
from ..runs.checkpoint import Checkpoint
from ..runs.quantization import quantize
from ..system.errors import ChatbotError, first_line
from ..system.files import atomic_file
from .manifest import refuse_other_weights, write_manifest
from .onnx_graph import extra
from .onnx_network import Network
from .proof import Proof, prove

ONNX_FORMAT = 1
KINDS = ("greedy", "encoder", "decoder")
# the entry of metadata_props that ends a file, as protobuf writes it: key, value's length, and 64 digits follow
SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read: its session, and what its metadata says."""

    session: Any
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    never_replied: list[int]
    config: Config
    checkpoint: str

    def search(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """Of a file of greedy search: as `GreedySearchDecoder.forward`."""
        return SearchResult(*_run(self.session, src, src_lengths, torch.tensor(max_length)))


class OnnxEncoder(nn.Module):
    """The encoder of a file, called as `model.Encoder` is (rows in any order), so that every search runs on it."""

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.session = file.session

    def forward(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, ...]:
        """As `model.Encoder.forward`."""
        return _run(self.session, src, src_lengths)


class OnnxDecoder(nn.Module):
    """The decoder of a file, called as `model.Decoder` is, one token at a time."""

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.session = file.session

    def forward(self, tokens: Tensor, hidden: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        """As `model.Decoder.forward`, T being 1."""
        return _run(self.session, tokens, hidden, memory, source)


def _run(session: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    names = [end.name for end in session.get_inputs()]
    given = {name: value.detach().cpu().numpy() for name, value in zip(names, inputs, strict=True)}
    return tuple(map(torch.from_numpy, session.run(None, given)))


def onnx_paths(folder: Path, quantized: bool = False) -> tuple[Path, Path, Path]:
    """The files of greedy search, encoder and decoder."""
    greedy, encoder, decoder = (
        folder / f"{kind}{'.int8' if quantized else ''}.onnx" for kind in ("chatbot", "encoder", "decoder")
    )
    return greedy, encoder, decoder


def export_onnx(checkpoint: Checkpoint, folder: Path, *, quantized: bool = False) -> Proof:
    """Write the three ONNX files of a checkpoint, after they were read back and compared with the eager model.

    In fp32 the replies must be the model's; in int8 nearly all of their tokens. The folder's manifest names them too.

    Raises:
        ChatbotError: they are not (then nothing is written), the folder holds an export of another checkpoint, the
            extra `[onnx]` is not installed, or a file cannot be written.
    """
    extra("onnxruntime")  # rather missed now than when all is written
    digest, written = checkpoint.digest(), onnx_paths(folder, quantized)
    refuse_other_weights(folder, written, digest)
    weights: Any = {name: weight.float().numpy() for name, weight in checkpoint.model.items()}
    network = Network(
        checkpoint.config.model,
        quantize(weights) if quantized else weights,
        len(checkpoint.vocabulary),
        checkpoint.never_replied,
    )
    makers = (network.greedy_model, network.encoder_model, network.decoder_model)
    with contextlib.ExitStack() as stack:
        paths = []
        for kind, make, path in zip(KINDS, makers, written, strict=True):
            file = stack.enter_context(atomic_file(path))
            file.write(_sealed(make(_metadata(checkpoint, kind, quantized, digest))))
            file.flush()
            paths.append(Path(file.name))
        greedy, encoder, decoder = map(load_onnx, paths, KINDS)
        parts = GreedySearchDecoder(OnnxEncoder(encoder), OnnxDecoder(decoder), checkpoint.never_replied).eval()
        proof = prove(checkpoint, checkpoint.build_model(), [greedy.search, parts], quantized=quantized)
    write_manifest(folder, written, {"checkpoint": digest})
    return proof


def _metadata(checkpoint: Checkpoint, kind: str, quantized: bool, digest: str) -> dict[str, str]:
    vocabulary, config = checkpoint.vocabulary, checkpoint.config
    return {
        "format": str(ONNX_FORMAT),
        "kind": kind,
        "weights": "int8" if quantized else "fp32",
        "tokenizer": checkpoint.tokenizer.name,
        "max_length": str(config.corpus.max_length),
        "context": str(config.corpus.context),
        "vocabulary": json.dumps(vocabulary.tokens),
        "special": json.dumps(vocabulary.special_ids),
        "never_replied": json.dumps(checkpoint.never_replied),
        "step": str(checkpoint.step),
        "checkpoint": digest,
        "perplexity": json.dumps(checkpoint.perplexity),
        "config": json.dumps(config.to_dict()),
    }


def _sealed(content: bytes) -> bytes:
    """Protobuf messages that follow each other are one message: here the model, and one more entry of metadata."""
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
        metadata = session.get_modelmeta().custom_metadata_map
        if metadata["format"] != str(ONNX_FORMAT):
            raise ValueError(f"it has format {metadata['format']}, this program reads {ONNX_FORMAT}; export again")
        if metadata["kind"] != kind:
            raise ValueError(f"its kind is {metadata['kind']}, and {kind} is wanted")
        config = Config.from_dict(json.loads(metadata["config"]))
        vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
        max_length, never_replied = config.corpus.max_length, json.loads(metadata["never_replied"])
        if metadata["max_length"] != str(max_length) or never_replied not in ([], vocabulary.never_replied):
            raise ValueError("its metadata do not go together; export again")
        return OnnxFile(
            session,
            vocabulary,
            TOKENIZERS[metadata["tokenizer"]],
            max_length,
            never_replied,
            config,
            metadata.get("checkpoint", ""),
        )
    except Exception as error:  # a damaged file makes the reader fail in every way there is
        raise ChatbotError(f"cannot read the ONNX file {path}: {first_line(error)}") from error


def _opened(path: Path) -> bytes:
    """The content of a file whose seal is whole."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")  # a device may have no end
    content = path.read_bytes()
    if content != _sealed(content[: -len(SEAL) - 64]):
        raise ValueError("it is damaged, or another program wrote it; export again")
    return content
