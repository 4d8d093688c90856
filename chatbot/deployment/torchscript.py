"""The deployable folder: `chatbot.pt`, the traced encoder and decoder inside scripted searches; the only torch.jit.

The file holds the network, the searches, the vocabulary and the tokenizer, and needs torch alone to run. TorchScript is
code: a bundle from a stranger can do what a program from a stranger can.
"""

import io
import json
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config.settings import Config
from ..corpus.tokenizer import TOKENIZERS, Tokenizer, last_words
from ..corpus.vocabulary import EOS_ID, Vocabulary
from ..decoding.generate import Decoding
from ..decoding.search import GreedySearchDecoder, Limits
from ..network.batch import pad_prompts
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint, check_archive
from ..runs.directory import BUNDLE
from ..runs.quantization import quantized
from ..system.errors import ChatbotError, first_line, shown
from ..system.files import atomic_folder
from .bundle import EXPORTED, BundleModule, Packing
from .manifest import HARD_TEXTS, Golden, check, refuse_to_replace, write_manifest
from .torchscript_tokenizer import Spelling, table_sha256

BUNDLE_FORMAT = 2
SCORE_TOLERANCE = 1e-4
GOLDEN_PROMPTS = 16  # of a checkpoint's own prompts, beside the hard ones
for method in EXPORTED:  # the compiler takes `forward` by itself, and of the others those that are marked
    torch.jit.export(method)
torch.jit.export(Packing.matrix)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read; `module` is a scripted `BundleModule`, the rest comes from its metadata."""

    module: torch.jit.ScriptModule
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    config: Config
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """What the reloaded bundle was compared with: the eager model, by greedy search on these prompts alone and all
    together, by beam search and by sampling on all together, and by text on the golden ones."""

    prompts: int
    shortest: int
    longest: int
    tokens: int
    golden: int
    largest_score_difference: float


def export(checkpoint: Checkpoint, folder: Path) -> Proof:
    """Write `chatbot.pt` and `manifest.json` of a checkpoint into `folder`, which is replaced as a whole, after the
    reloaded file has given the replies of the eager model.

    Raises:
        ChatbotError: a reply differs (then nothing is written), the folder cannot be written, or holds other things.
    """
    refuse_to_replace(folder)
    model = checkpoint.build_model()
    with torch.inference_mode(False), torch.no_grad(), _quiet(), atomic_folder(folder) as part:
        description = describe(checkpoint)
        # of a network of its own, for packing empties it
        _save(_script(checkpoint.build_model(), checkpoint, description), part / BUNDLE)
        golden = golden_replies(model, checkpoint)
        with torch.jit.optimized_execution(False):  # optimising for each shape takes longer than all replies
            proof = _prove(model, load_bundle(part / BUNDLE), checkpoint, golden)
        write_manifest(part, description, golden)
    return proof


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a client wants to know of a model, as plain data: for the manifest, and for the bundle's `metadata()`."""
    vocabulary, spelling = checkpoint.vocabulary, Spelling(checkpoint.tokenizer.name)
    return {
        "bundle_format": BUNDLE_FORMAT,
        "checkpoint": checkpoint.digest(),
        "torch": torch.__version__,
        "tokenizer": checkpoint.tokenizer.name,
        "unicode": unicodedata.unidata_version,
        "table_sha256": table_sha256(spelling),
        "vocabulary_size": len(vocabulary),
        "special_ids": vocabulary.special_ids,
        "never_replied": checkpoint.never_replied,
        "max_length": checkpoint.config.corpus.max_length,
        "weights": "uint8" if checkpoint.is_quantized else "float32",
        "step": checkpoint.step,
        "perplexity": checkpoint.perplexity,
        "config": checkpoint.config.to_dict(),
    }


def golden_replies(model: Seq2Seq, checkpoint: Checkpoint) -> list[Golden]:
    """What the eager model answers to the hard texts, and to some of the checkpoint's prompts."""
    vocabulary, tokenizer = checkpoint.vocabulary, checkpoint.tokenizer
    own = checkpoint.prompts[:: max(1, len(checkpoint.prompts) // GOLDEN_PROMPTS)][:GOLDEN_PROMPTS]
    search = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    golden = []
    for text in [*HARD_TEXTS, *(tokenizer.detokenize(vocabulary.decode(ids)) for ids in own)]:
        ids = vocabulary.encode(last_words(tokenizer, text))
        tokens, scores = list[int](), list[float]()
        if ids:
            found = search(*pad_prompts([ids]), checkpoint.config.corpus.max_length + 1)
            tokens, scores = found.tokens[0].tolist(), found.scores[0].tolist()
        golden.append(Golden(text, ids, tokens, scores, tokenizer.detokenize(vocabulary.decode(tokens))))
    return golden


def _script(model: Seq2Seq, checkpoint: Checkpoint, description: dict[str, Any]) -> torch.jit.ScriptModule:
    """Trace the parts at one small example; the traces hold for every batch, length and device."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    src, src_lengths = pad_prompts([checkpoint.prompts[-1]])
    memory, source, hidden = model.encoder(src, src_lengths)
    encoder = torch.jit.trace(model.encoder, (src, src_lengths), check_trace=False)
    decoder = torch.jit.trace(model.decoder, (src[:, :1], hidden, memory, source), check_trace=False)
    module = BundleModule(
        encoder,
        decoder,
        _packing(encoder, decoder, checkpoint.is_quantized),
        checkpoint.never_replied,
        checkpoint.vocabulary,
        Spelling(checkpoint.tokenizer.name),
        checkpoint.config.corpus.max_length,
        json.dumps(description),
    )
    return torch.jit.script(module.eval())


def _save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write a scripted module without its debugging records, which hold the paths of the machine that made it."""
    saved = io.BytesIO()  # given a path, torch ends the program when the disk is full
    torch.jit.save(module, saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(path, "w") as bundle:
        for member in whole.infolist():
            if not member.filename.endswith(".debug_pkl"):
                bundle.writestr(zipfile.ZipInfo(member.filename), whole.read(member), member.compress_type)


def _packing(encoder: torch.jit.ScriptModule, decoder: torch.jit.ScriptModule, packed: bool) -> torch.jit.ScriptModule:
    """The matrices of the traced parts, taken out of them if they are to be packed, and the code that puts them back.

    TorchScript cannot go through a module's weights by name: the method has a line for each.
    """
    values, scales, lines = list[torch.Tensor](), list[torch.Tensor](), list[str]()
    places: dict[int, int] = {}  # of matrices that are packed already: a tied one has two names
    matrices = []
    for part, module in (("encoder", encoder), ("decoder", decoder)):
        for name, weight in module.named_parameters(part, remove_duplicate=False):
            if packed and weight.dim() == 2:
                matrices.append(weight)
                if weight.data_ptr() not in places:
                    places[weight.data_ptr()] = len(values)
                    for kept, matrix in zip((values, scales), quantized(weight.numpy()), strict=True):
                        kept.append(torch.from_numpy(matrix))
                place = "self"
                for attribute in name.split("."):
                    place = f"getattr({place}, '{attribute}')"
                lines.append(f"        {place}.set_(self.matrix({places[weight.data_ptr()]}, {place}))\n")
    for weight in matrices:
        weight.data = torch.zeros(1).expand(weight.shape)  # the shape, in four bytes
    packing = torch.jit.script(Packing(encoder, decoder, values, scales))
    packing.define(
        "def unpack(self) -> None:\n    if self.waiting:\n"
        + "".join(lines)
        + "        self.values = torch.jit.annotate(List[Tensor], [])\n"
        "        self.scales = torch.jit.annotate(List[Tensor], [])\n"
        "        self.waiting = False\n"
    )
    return packing


def _prove(model: Seq2Seq, bundle: Bundle, checkpoint: Checkpoint, golden: Sequence[Golden]) -> Proof:
    longest = checkpoint.config.corpus.max_length + 1
    prompts = [prompt or [EOS_ID] for prompt in checkpoint.prompts]
    batches = [pad_prompts(group) for group in [*([prompt] for prompt in prompts), prompts]]
    module = bundle.module
    eager = Decoding(model.encoder, model.decoder, checkpoint.never_replied, torch.device("cpu"))
    pairs = [(eager.greedy(*batch, longest), module.greedy_batch(*batch, longest)) for batch in batches]
    limits = Limits(longest, 1, 2, 1.2, 0.4, 3, 1.0)  # a constraint of each kind
    for_beam, for_sampling = (limits, 4, 4, 0.6), (limits, 2, 7, 0.9, 40, 0.95)
    others = [
        (eager.beam(*batches[-1], *for_beam), module.beam(*batches[-1], *for_beam)),
        (eager.sampling(*batches[-1], *for_sampling), module.sampling(*batches[-1], *for_sampling)),
    ]
    for one, other in [*pairs, *others]:
        if not torch.equal(one.tokens, other.tokens):
            raise ChatbotError("not exported: the file answers otherwise than the model does")
    difference = max(float((one.scores - other.scores).abs().max()) for one, other in pairs)
    if difference > SCORE_TOLERANCE:
        raise ChatbotError(f"not exported: the file's scores are {difference:.2g} away from the model's")
    for row in golden:
        if (reply := module.reply(row.text)) != row.reply:
            raise ChatbotError(
                f"not exported: to {row.text[:40]!r} the file says {reply!r} and the model {row.reply!r}"
            )
    lengths = [len(prompt) for prompt in prompts]
    tokens = sum(one.tokens.numel() for one, _ in pairs)
    return Proof(len(prompts), min(lengths), max(lengths), tokens, len(golden), difference)


def load_bundle(path: Path) -> Bundle:
    """Open what `export` wrote. Its code runs when it is used, and may when it is opened.

    Raises:
        ChatbotError: it is missing, damaged, another program's, of another format, or not the file that the manifest
            beside it describes.
    """
    manifest = check(path)
    try:
        if not manifest:
            check_archive(path, code=True)
        with _quiet():
            module = torch.jit.load(path, map_location="cpu").eval()
        metadata = json.loads(module.metadata())
        if metadata["bundle_format"] != BUNDLE_FORMAT:
            raise ValueError(
                f"it has bundle format {shown(metadata['bundle_format'])}, this program reads {BUNDLE_FORMAT}: "
                "export again"
            )
        vocabulary, config = Vocabulary(module.vocabulary), Config.from_dict(metadata["config"])
        never_replied = module.search.never_replied.tolist()
        if module.max_length != config.corpus.max_length or not set(never_replied) <= set(range(len(vocabulary))):
            raise ValueError("its parts do not go together")
        return Bundle(module, vocabulary, TOKENIZERS[metadata["tokenizer"]], module.max_length, config, metadata)
    except Exception as error:  # a damaged archive makes the reader fail in every way there is
        raise ChatbotError(f"cannot read the bundle {path}: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what upstream says of torch.jit's future and of tracing a packed GRU (which `_prove` checks), no more."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings(
                "ignore", r"`torch\.jit\.\w+` is (deprecated|not supported in Python 3\.14\+)", category
            )
        for module in (r"torch\.nn\.modules\.rnn", r"torch\.nn\.utils\.rnn"):
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=module)
        yield
