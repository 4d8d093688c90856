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
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.settings import Config
from ..corpus.tokenizer import TOKENIZERS, Tokenizer
from ..corpus.vocabulary import EOS_ID, SOS_ID, Vocabulary
from ..decoding.search import GreedySearchDecoder, SearchResult
from ..network.batch import pad_prompts
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint
from ..runs.quantization import quantize
from ..system.errors import ChatbotError, first_line
from ..system.files import atomic_file
from .manifest import add_to_manifest, refuse_other_weights
from .onnx_graph import extra
from .onnx_network import Network

ONNX_FORMAT = 1
KINDS = ("greedy", "encoder", "decoder")
SCORE_TOLERANCE = 1e-4
Reply = tuple[list[int], list[float]]  # tokens up to EOS, and their scores
LEAST_EQUAL = 0.8  # of the tokens that int8 finds: below that something is wrong with the model or with the file
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


@dataclass(frozen=True)
class Agreement:
    """What the files that were read back said of these prompts, each alone and all together, beside the model.

    tokens: of the replies (of two that differ the longer counts); equal: those that are the same in both.
    largest_score_difference: of tokens behind equal ones.
    """

    prompts: int
    tokens: int
    equal: int
    largest_score_difference: float

    def and_of(self, ours: "Reply", theirs: "Reply") -> "Agreement":
        """With one more reply to compare."""
        equal = _equal_start(ours[0], theirs[0])
        differences = [abs(a - b) for a, b in zip(ours[1][:equal], theirs[1][:equal], strict=True)]
        return Agreement(
            self.prompts,
            self.tokens + max(len(ours[0]), len(theirs[0])),
            self.equal + sum(map(int.__eq__, ours[0], theirs[0])),
            max([self.largest_score_difference, *differences]),
        )


def onnx_paths(folder: Path, quantized: bool = False) -> tuple[Path, Path, Path]:
    """The files of greedy search, encoder and decoder."""
    greedy, encoder, decoder = (
        folder / f"{kind}{'.int8' if quantized else ''}.onnx" for kind in ("chatbot", "encoder", "decoder")
    )
    return greedy, encoder, decoder


def export_onnx(checkpoint: Checkpoint, folder: Path, *, quantized: bool = False) -> Agreement:
    """Write the three ONNX files of a checkpoint, after they were read back and compared with the eager model.

    In fp32 the replies must be the model's; in int8 nearly all of their tokens. The folder's manifest names them too.

    Raises:
        ChatbotError: they are not (then nothing is written), the folder holds an export of another checkpoint, the
            extra `[onnx]` is not installed, or a file cannot be written.
    """
    extra("onnxruntime")  # rather missed now than when all is written
    digest, written = checkpoint.digest(), onnx_paths(folder, quantized)
    refuse_other_weights(folder, written, digest)
    model = checkpoint.build_model()
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
        proof = _prove(checkpoint, model, paths, quantized)
    add_to_manifest(folder, written, digest)
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


def _prove(checkpoint: Checkpoint, model: Seq2Seq, paths: Sequence[Path], quantized: bool) -> Agreement:
    never = checkpoint.never_replied
    greedy, encoder, decoder = map(load_onnx, paths, KINDS)
    parts = GreedySearchDecoder(OnnxEncoder(encoder), OnnxDecoder(decoder), never).eval()
    eager = GreedySearchDecoder(model.encoder, model.decoder, never).eval()
    prompts = [prompt or [EOS_ID] for prompt in checkpoint.prompts]
    longest = checkpoint.config.corpus.max_length + 1
    total = Agreement(len(prompts), 0, 0, 0.0)
    with torch.inference_mode():
        for group in [[prompt] for prompt in prompts] + [prompts]:
            given = (*pad_prompts(group), longest)
            wanted = _replies(eager(*given))
            for search in (greedy.search, parts):
                for prompt, ours, theirs in zip(group, wanted, _replies(search(*given)), strict=True):
                    total = total.and_of(ours, theirs)
                    if not quantized and not _same(model, prompt, ours[0], theirs[0]):
                        raise ChatbotError(
                            f"not exported: the ONNX files answer {prompt} otherwise than the model does"
                        )
    if quantized and total.equal < LEAST_EQUAL * total.tokens:
        raise ChatbotError(f"not exported: in int8 only {total.equal} of {total.tokens} tokens are the model's")
    if not quantized and total.largest_score_difference > SCORE_TOLERANCE:
        difference = total.largest_score_difference
        raise ChatbotError(f"not exported: the ONNX files' scores are {difference:.2g} away from the model's")
    return total


def _replies(found: SearchResult) -> list[Reply]:
    """Each row's tokens, EOS being the last, and their scores."""
    rows = [tokens[: tokens.index(EOS_ID) + 1] if EOS_ID in tokens else tokens for tokens in found.tokens.tolist()]
    return [(row, scores[: len(row)]) for row, scores in zip(rows, found.scores.tolist(), strict=True)]


def _same(model: Seq2Seq, prompt: list[int], ours: list[int], theirs: list[int]) -> bool:
    """Whether two replies are equal up to where the model finds two words equally likely, but for rounding."""
    if ours == theirs:
        return True
    first = _equal_start(ours, theirs)
    src, src_lengths = pad_prompts([prompt])
    logits = model(src, src_lengths, torch.tensor([[SOS_ID, *ours[:first]]]), torch.tensor([first + 1]))
    a, b = logits[-1, [ours[first], theirs[first]]].tolist()
    return abs(a - b) <= SCORE_TOLERANCE


def _equal_start(ours: list[int], theirs: list[int]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))


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
