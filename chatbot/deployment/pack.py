"""A run to keep or to pass on: its folder at a quarter of the size, with the file to deploy.

FOLDER/
    config.json, vocabulary.txt, metrics.jsonl    as in the run
    best.pt                                       the chosen weights, every matrix in 8 bits
    export/                                       chatbot.pt, in 8 bits too, and its manifest
"""

import dataclasses
from pathlib import Path

from ..runs.directory import RunDirectory
from ..system.errors import ChatbotError
from ..system.files import atomic_folder
from .proof import Proof
from .torchscript import export


def pack(run: RunDirectory, folder: Path, corpus: str | None = None) -> Proof:
    """Write a run with 8-bit weights into a new folder, whole or not at all. Training cannot be resumed from there.

    The weights are rounded once, so `best.pt`, `chatbot.pt` and ONNX files made from it answer alike.

    Args:
        corpus: a name for the corpus in the settings there; by default it stays, and may be a path of this machine.

    Raises:
        ChatbotError: the folder is there already or cannot be written, the run has no model or a damaged one.
    """
    if folder.exists():
        raise ChatbotError(f"{folder} is there already: name a new folder, or delete that one")
    quantized = run.load_chosen().quantized()
    if corpus is not None:
        config = quantized.config
        config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, corpus=corpus))
        quantized = dataclasses.replace(quantized, config=config)
    measurements = run.measurements()
    with atomic_folder(folder) as part:
        made = RunDirectory(part)
        made.begin(quantized.config, quantized.vocabulary)
        quantized.save(made.best)
        if measurements:
            made.metrics.write_text("".join(measurements), encoding="utf-8")
        return export(quantized, made.export)
