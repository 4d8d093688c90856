"""Write and open an export's folder: `chatbot.pt` and its manifest. This is the only file that uses torch.jit.

`chatbot.pt` (a "bundle") holds the traced encoder and decoder, the searches, the vocabulary and the tokenizer. It needs
torch alone to run. TorchScript is code: a bundle from a stranger can do what a program from a stranger can.
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
from typing import Any, TypedDict

import torch

from ..config.settings import Config
from ..corpus.tokenizer import Tokenizer, tokenizer_named
from ..corpus.vocabulary import Vocabulary
from ..network.batch import pad_prompts
from ..network.kernels.gru import by_words
from ..network.model import Seq2Seq
from ..runs.archive import check_bundle_archive
from ..runs.checkpoint import Checkpoint
from ..runs.directory import BUNDLE
from ..runs.quantization import quantized
from ..system.errors import ChatbotError, first_line, shown
from ..system.files import atomic_folder
from ..system.schema import checked
from .bundle import EXPORTED, BundleModule, QuantizedWeights
from .manifest import check, describe, refuse_to_replace, write_manifest
from .proof import Proof, golden_replies, prove_bundle
from .torchscript_tokenizer import table_sha256, torchscript_tokenizer

BUNDLE_FORMAT = 3
CUDNN_GRU = 3  # `torch.backends.cudnn.rnn.get_cudnn_mode`, which is only there with cuDNN
READABLE = (2, 3)  # in format 2 `reply` is greedy search whatever the run asks for
for method in (*EXPORTED, QuantizedWeights.matrix):
    torch.jit.export(method)


class Facts(TypedDict):
    """What is read back of a bundle's metadata; the rest, which `describe` names, is for people and other programs."""

    bundle_format: int
    tokenizer: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read; `module` is a scripted `BundleModule`, the rest comes from its metadata."""

    module: torch.jit.ScriptModule
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    config: Config
    metadata: dict[str, Any]


def export(checkpoint: Checkpoint, folder: Path) -> Proof:
    """Write `chatbot.pt` and `manifest.json` of a checkpoint into `folder`, which is replaced as a whole, after the
    reloaded file has given the replies of the eager model.

    Raises:
        ChatbotError: a reply differs (then nothing is written), the folder cannot be written, or holds other things.
    """
    refuse_to_replace(folder)
    model = checkpoint.build_model()
    with torch.inference_mode(False), torch.no_grad(), _quiet(), atomic_folder(folder) as part:
        description = {
            **describe(checkpoint),
            "bundle_format": BUNDLE_FORMAT,
            "torch": torch.__version__,
            "unicode": unicodedata.unidata_version,
            "table_sha256": table_sha256(torchscript_tokenizer(checkpoint.tokenizer.name)),
            "vocabulary_size": len(checkpoint.vocabulary),
            "special_ids": checkpoint.vocabulary.special_ids,
            "weights": "uint8" if checkpoint.is_quantized else "float32",
        }
        # from a network of its own, because quantizing empties its matrices
        _save(_script(checkpoint.build_model(), checkpoint, description), part / BUNDLE)
        golden = golden_replies(model.encoder, model.decoder, checkpoint)
        with torch.jit.optimized_execution(False):  # optimising for each shape takes longer than all replies
            proof = prove_bundle(checkpoint, model, load_bundle(part / BUNDLE).module, golden)
        write_manifest(part, [part / BUNDLE], description, golden)
    return proof


def _script(model: Seq2Seq, checkpoint: Checkpoint, description: dict[str, Any]) -> torch.jit.ScriptModule:
    """Trace the encoder and the decoder, and compile the searches around them."""
    # One prompt is enough for a trace of all shapes and devices: nothing in the network branches on a value, and code
    # that depends on a size or a device asks a tensor for it, which a trace records. The proof compares other shapes.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    src, src_lengths = pad_prompts([checkpoint.prompts[-1]])
    memory, source, hidden = model.encoder(src, src_lengths)
    model.decoder.gru.by_words = torch.jit.script(by_words)  # it asks where its input is, which a trace cannot
    encoder = torch.jit.trace(model.encoder, (src, src_lengths), check_trace=False)
    decoder = torch.jit.trace(model.decoder, (src[:, :1], hidden, memory, source), check_trace=False)
    weights = _quantized_weights(encoder, decoder, (model.encoder.gru, model.decoder.gru), checkpoint.is_quantized)
    module = BundleModule(encoder, decoder, weights, checkpoint, json.dumps(description))
    return torch.jit.script(module.eval())


def _save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write a scripted module without its debug records, which only serve tracebacks."""
    saved = io.BytesIO()  # given a path, torch ends the program when the disk is full
    torch.jit.save(module, saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(path, "w") as bundle:
        for member in whole.infolist():
            # these hold paths of the machine that made the file, and so the name of its user
            if not member.filename.endswith(".debug_pkl"):
                bundle.writestr(zipfile.ZipInfo(member.filename), whole.read(member), member.compress_type)


def _quantized_weights(
    encoder: Any, decoder: Any, grus: Sequence[torch.nn.GRU], quantize: bool
) -> torch.jit.ScriptModule:
    """Take the matrices out of the traced parts, as 8 bits, if asked to, and write the method that puts them back.

    TorchScript cannot go through a module's weights by name, so that method has a line for each.
    """
    values, scales, lines = list[torch.Tensor](), list[torch.Tensor](), list[str]()
    places: dict[int, str] = {}  # of matrices that were met before: a tied one has several names, and is kept once
    matrices = []
    for part, module in (("encoder", encoder), ("decoder", decoder)):
        for name, weight in module.named_parameters(part, remove_duplicate=False):
            if quantize and weight.dim() == 2:
                matrices.append(weight)
                place = _attribute(name)
                source = places.setdefault(weight.data_ptr(), place)
                if source == place:
                    source = f"self.matrix({len(values)}, {place})"
                    for kept, matrix in zip((values, scales), quantized(weight.numpy()), strict=True):
                        kept.append(torch.from_numpy(matrix))
                lines.append(f"        {place}.set_({source})\n")
    for weight in matrices:
        weight.data = torch.zeros(1).expand(weight.shape)  # the shape, in four bytes
    weights = torch.jit.script(QuantizedWeights(encoder, decoder, values, scales))
    weights.define(
        "def unpack(self) -> None:\n    if self.waiting:\n"
        + "".join(lines)
        + "        self.values = torch.jit.annotate(List[Tensor], [])\n"
        "        self.scales = torch.jit.annotate(List[Tensor], [])\n"
        "        self.waiting = False\n"
    )
    weights.define(
        # asked of a weight, for what depends on no tensor the compiler answers where the file is written
        "def lay_side_by_side(self) -> None:\n"
        f"    if self.laid == 0 and torch.cudnn_is_acceptable({_attribute('decoder.gru.weight_ih_l0')}):\n"
        + "".join(map(_flattening, ("encoder", "decoder"), grus))
    )
    return weights


def _attribute(name: str) -> str:
    """A weight by its dotted name, as TorchScript reads it."""
    place = "self"
    for attribute in name.split("."):
        place = f"getattr({place}, '{attribute}')"
    return place


def _flattening(part: str, gru: torch.nn.GRU) -> str:
    """What nn.GRU.flatten_parameters does, for the GRU of a part of the network: cuDNN wants one piece of memory."""
    places = [_attribute(f"{part}.gru.{name}") for name in gru._flat_weights_names]
    weights = ", ".join(places)
    by_rows = "".join(f"        {place}.set_({place}.contiguous())\n" for place in places)  # so cuDNN reads them
    ways = gru.num_layers, gru.batch_first, gru.bidirectional
    sizes = f"{gru.input_size}, {CUDNN_GRU}, {gru.hidden_size}, 0, {', '.join(map(str, ways))}"
    # the compiler leaves out a call whose result nobody uses
    return by_rows + f"        self.laid += torch._cudnn_rnn_flatten_weight([{weights}], 4, {sizes}).numel()\n"


def load_bundle(path: Path) -> Bundle:
    """Open what `export` wrote. Its code runs when it is used, and may when it is opened.

    Raises:
        ChatbotError: it is missing, damaged, another program's, of another format, or not the file that the manifest
            beside it describes.
    """
    manifest = check(path)
    try:
        if not manifest:
            check_bundle_archive(path)
        with _quiet():
            module = torch.jit.load(path, map_location="cpu").eval()
        metadata = json.loads(module.metadata())
        if (version := metadata["bundle_format"]) not in READABLE:
            raise ValueError(f"it has bundle format {shown(version)}, this program reads {BUNDLE_FORMAT}: export again")
        metadata = checked(Facts, metadata, "its metadata")
        # a bundle of version 0.1 has no `written`
        vocabulary = Vocabulary(module.vocabulary, getattr(module, "written", None))
        config = Config.from_dict(metadata["config"])
        never_replied = module.search.never_replied.tolist()
        if module.max_length != config.corpus.max_length or not set(never_replied) <= set(range(len(vocabulary))):
            raise ValueError("its parts do not go together")
        return Bundle(module, vocabulary, tokenizer_named(metadata["tokenizer"]), module.max_length, config, metadata)
    except Exception as error:  # a damaged archive makes the reader fail in every way there is
        raise ChatbotError(f"cannot read the bundle {path}: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence only what torch says of torch.jit's future, and of tracing a packed GRU (whose replies are proven)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported in Python 3\.14\+)")
        rnn = r"torch\.nn\.(modules|utils)\.rnn"
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=rnn)
        yield
