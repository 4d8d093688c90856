"""`chatbot export` and `chatbot pack`: files that others run."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..system.errors import ChatbotError, command
from .run import found_run
from .told import say, tell_figures, try_next


def export(arguments: argparse.Namespace) -> None:
    """chatbot export"""
    from ..runs.directory import find_run

    run = found_run(arguments, find_run)
    folder, checkpoint = arguments.out or run.export, run.load_chosen()
    if arguments.mend_words is not None:
        corpus = dataclasses.replace(checkpoint.config.corpus, mend_words=arguments.mend_words)
        checkpoint = dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, corpus=corpus))
    if arguments.pack:
        checkpoint = checkpoint.quantized()
    if arguments.runtime is not None and not arguments.web:
        raise ChatbotError("--runtime is for the page of --web")
    if arguments.web:
        if arguments.onnx or arguments.quantize or arguments.triton:
            raise ChatbotError("--web writes a page with a model of its own: leave out --onnx, --quantize and --triton")
        _export_web(arguments, folder, checkpoint, run.path.name)
    elif arguments.triton:
        if arguments.onnx:
            raise ChatbotError("--triton writes a file of its own: leave out --onnx")
        _export_triton(arguments, folder, checkpoint, run.path.name)
    elif arguments.onnx or arguments.quantize:
        _export_onnx(arguments, folder, checkpoint)
    else:
        from ..deployment.torchscript import export

        _report_export(arguments, folder, export(checkpoint, folder))


def _export_onnx(arguments: argparse.Namespace, folder: Path, checkpoint: Any) -> None:
    from ..deployment.onnx import export_onnx, onnx_paths

    figures = {}
    for quantized in [False] * arguments.onnx + [True] * (arguments.quantize == "int8"):
        proof = export_onnx(checkpoint, folder, quantized=quantized)
        files = onnx_paths(folder, quantized)
        _say_proven(files, proof)
        sizes = {str(file): file.stat().st_size for file in files}
        figures["int8" if quantized else "fp32"] = {"files": sizes, **dataclasses.asdict(proof)}
    try_next(command("chat", files[0]))
    tell_figures(arguments, figures)


def _export_triton(arguments: argparse.Namespace, folder: Path, checkpoint: Any, name: str) -> None:
    from ..deployment.triton import TRITON, export_triton

    proof = export_triton(checkpoint, folder, name, quantized=arguments.quantize == "int8")
    files = sorted(file for file in (folder / TRITON / name).rglob("*") if file.is_file())
    _say_proven(files, proof)
    try_next(f"tritonserver --model-repository {shlex.quote(str(folder / TRITON))}")
    sizes = {str(file): file.stat().st_size for file in files}
    tell_figures(arguments, {"path": str(folder / TRITON), "bytes": sizes, **dataclasses.asdict(proof)})


def _export_web(arguments: argparse.Namespace, folder: Path, checkpoint: Any, name: str) -> None:
    from ..deployment.web import WEB, export_web
    from ..deployment.web_runtime import runtime_from

    with runtime_from(arguments.runtime) as runtime:
        proof = export_web(checkpoint, folder, name, runtime)
    page = folder / WEB
    sizes = {str(file.relative_to(page)): file.stat().st_size for file in sorted(page.rglob("*")) if file.is_file()}
    say(f"wrote {page}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    say(f"runtime: {runtime.told}")
    say(f"model.onnx read back and compared with the model in 8 bits: {proof}")
    try_next(f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(page))}")
    runtime_facts = {"told": runtime.told, **runtime.describe()}
    tell_figures(arguments, {"path": str(page), "bytes": sizes, "runtime": runtime_facts, **dataclasses.asdict(proof)})


def pack(arguments: argparse.Namespace) -> None:
    """chatbot pack"""
    from ..deployment.pack import pack
    from ..runs.directory import RunDirectory, find_run

    proof = pack(found_run(arguments, find_run), arguments.folder, arguments.corpus)
    made = RunDirectory(arguments.folder)
    _say_wrote(made.best)
    _report_export(arguments, made.export, proof)


def _report_export(arguments: argparse.Namespace, folder: Path, proof: Any) -> None:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    _say_proven(files, proof)
    try_next(command("chat", folder))
    sizes = {file.name: file.stat().st_size for file in files}
    tell_figures(arguments, {"path": str(folder), "bytes": sizes, **dataclasses.asdict(proof)})


def _say_proven(files: Sequence[Path], proof: Any) -> None:
    for file in files:
        _say_wrote(file)
    say(f"compared with the model after reading back: {proof}")


def _say_wrote(file: Path) -> None:
    say(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
