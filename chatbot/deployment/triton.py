"""A model repository for the ONNX backend of NVIDIA's Triton, which KServe runs, too.

    triton/NAME/config.pbtxt    what the model takes and gives (`ModelConfig` of Triton's model_config.proto)
    triton/NAME/1/model.onnx    greedy search on the whole network; the 1 is the version

Triton puts requests of one shape together into a batch, whose rows are the first axis of everything. So the file takes
no `max_length`, which has no rows: it is the model's own. A number for each row stands in an axis of its own in a
request, and is reshaped.
"""

import json
from pathlib import Path
from typing import Any

from ..decoding.search import SearchResult
from ..runs.checkpoint import Checkpoint
from ..runs.quantization import quantize
from ..system.errors import ChatbotError
from ..system.files import atomic_folder
from .manifest import is_repository, refuse_other_weights
from .onnx import load_onnx, metadata_of, sealed
from .onnx_graph import extra
from .onnx_network import Network
from .proof import Proof, prove

TRITON = "triton"
ROWS = 64  # that Triton puts together at most


def export_triton(checkpoint: Checkpoint, folder: Path, name: str, *, quantized: bool = False) -> Proof:
    """Write the repository of a model of that name into `folder`/triton, which is replaced as a whole, after its file
    was read back and compared with the eager model.

    Raises:
        ChatbotError: the file answers otherwise, `folder` holds an export of another checkpoint, the extra `[onnx]` is
            not installed, or a file cannot be written. Then nothing is written.
    """
    extra("onnxruntime")
    metadata = metadata_of(checkpoint, quantized)
    refuse_other_weights(folder, [], metadata["checkpoint"])
    repository = folder / TRITON
    if repository.exists() and not is_repository(repository):
        raise ChatbotError(f"{repository} holds something that no export wrote: name a new folder with --out")
    weights: Any = {name: weight.float().numpy() for name, weight in checkpoint.model.items()}
    weights = quantize(weights) if quantized else weights
    network = Network(checkpoint.config.model, weights, len(checkpoint.vocabulary), checkpoint.never_replied)
    longest = checkpoint.config.corpus.max_length + 1  # with EOS
    with atomic_folder(repository) as part:
        (part / name / "1").mkdir(parents=True)
        model = part / name / "1" / "model.onnx"
        model.write_bytes(sealed(network.greedy_model({**metadata, "kind": "greedy"}, longest)))
        (part / name / "config.pbtxt").write_text(configuration(name), "utf-8", newline="\n")
        file = load_onnx(model, "greedy")
        return prove(
            checkpoint, checkpoint.build_model(), [lambda *given: SearchResult(*file(*given[:2]))], quantized=quantized
        )


def configuration(name: str) -> str:
    """config.pbtxt, in protobuf's text format. Shapes are without their first axis, the rows; -1 is any length."""
    return f"""name: {json.dumps(name, ensure_ascii=False)}
backend: "onnxruntime"
max_batch_size: {ROWS}
input [
  {{ name: "src" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "src_lengths" data_type: TYPE_INT64 dims: [ 1 ] reshape {{ shape: [ ] }} }}
]
output [
  {{ name: "tokens" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "scores" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "attention" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
]
dynamic_batching {{ }}
"""
