"""A run to keep or to pass on: its folder at a quarter of the size, with the file to deploy.

FOLDER/
    config.json, vocabulary.txt, metrics.jsonl    as in the run
    best.pt                                       the chosen weights, every matrix in bytes
    export/                                       chatbot.pt, packed likewise, and its manifest
"""

import dataclasses
import shutil
from pathlib import Path

from ..runs.directory import RunDirectory
from ..system.errors import ChatbotError
from ..system.files import atomic_folder
from .proof import Proof
from .torchscript import export


def pack(run: RunDirectory, folder: Path, corpus: str | None = None) -> Proof:
    """Write the packed form of a run into a new folder, whole or not at all.

    The weights are rounded once: `best.pt`, `chatbot.pt` and ONNX files made of it answer alike. The run can't be
    resumed from there.

    Args:
        corpus: what the settings there call the corpus; None leaves it, which may be a path of this machine.

    Raises:
        ChatbotError: the folder is there already or cannot be written, the run has no model or a damaged one.
    """
    if folder.exists():
        raise ChatbotError(f"{folder} is there already: name a new folder, or delete that one")
    packed = run.load_chosen().quantized()
    if corpus is not None:
        config = packed.config
        config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, corpus=corpus))
        packed = dataclasses.replace(packed, config=config)
    with atomic_folder(folder) as part:
        made = RunDirectory(part)
        made.begin(packed.config, packed.vocabulary)
        packed.save(made.best)
        if run.metrics.exists():
            shutil.copyfile(run.metrics, made.metrics)
        return export(packed, made.export)
