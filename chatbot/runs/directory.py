"""The run directory: the names and order of the files of one run, and which run is meant.

checkpoints/RUN/
    config.json          every setting; `chatbot train --config` repeats the run with it
    vocabulary.txt       one token per line, with its written form behind a tab if it has one
    last.pt              newest state, with everything that resuming needs
    last.previous.pt     the one before, should `last.pt` be damaged
    best.pt              weights with the lowest held-out perplexity
    metrics.jsonl        one JSON object per measurement
    tb/                  TensorBoard events
    evaluation-test.json figures that `chatbot evaluate` found, for each split it was asked for
    export/              what `chatbot export` wrote
    training.lock        held, while a training writes here, by its process, which it names
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..config.settings import Config, differences
from ..corpus.vocabulary import Vocabulary
from ..system.errors import ChatbotError, command, failing_as
from ..system.files import atomic_file, read_whole, tidy
from .archive import is_bundle
from .checkpoint import Checkpoint

State = TypeVar("State")
MAX_METRICS = 64 << 20  # bytes of the measurements; a training of four million steps writes some 10 MB
BUNDLE, ONNX = "chatbot.pt", "chatbot.onnx"  # of an export
PRETRAINED = "pretrained"  # the run that comes with the program; what was trained here is opened rather
_HERE = Path(__file__).resolve().parent.parent  # the package
_INSTALLED = _HERE / PRETRAINED  # a wheel has it beside the code, a checkout in checkpoints/
BOX = _INSTALLED if _INSTALLED.is_dir() else _HERE.parent / "checkpoints" / PRETRAINED


class RunDirectory:
    """Names and order of the files of one run.

    Args:
        path: the run's folder.
        home: where exports and figures of it are written, if that is another folder: an installed program's own is not
            to be written to.
    """

    def __init__(self, path: Path, home: Path | None = None) -> None:
        self.path, self.home = path, home or path
        self.config = path / "config.json"
        self.vocabulary = path / "vocabulary.txt"
        self.last = path / "last.pt"
        self.previous = path / "last.previous.pt"
        self.next = path / "last.next.pt"
        self.best = path / "best.pt"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tb"
        self.export = self.home / "export"
        self.lock = path / "training.lock"

    def evaluation(self, split: str) -> Path:
        """Where the figures of a split are kept."""
        return self.home / f"evaluation-{split}.json"

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint of any kind."""
        return self.is_resumable or self.best.exists()

    @property
    def is_resumable(self) -> bool:
        """Whether a training can go on from here: not if it was killed before it first wrote `last.pt`."""
        return any(path.exists() for path in (self.last, self.previous, self.next))

    @property
    def is_run(self) -> bool:
        """Whether anything of a run is there: then it is no export's folder, whatever else lies in it."""
        files = (self.config, self.vocabulary, self.metrics, self.lock)
        return self.is_trained or any(map(os.path.lexists, files))

    @property
    def is_imported(self) -> bool:
        """Whether the weights are no training's, which holds `training.lock`, but were packed or imported."""
        return self.best.exists() and not self.is_resumable and not self.lock.exists()

    def begin(self, config: Config, vocabulary: Vocabulary) -> None:
        """Make the directory and what stands in it from the first step on.

        Raises:
            ChatbotError: it cannot be written, its name is no UTF-8, or a folder stands where a file is going to be.
        """
        try:
            os.fspath(self.path).encode()
        except UnicodeEncodeError as error:  # what TensorBoard writes holds its own path, as text
            raise ChatbotError(f"{self.path} is a name that is no UTF-8: name the run otherwise") from error
        for path in (self.config, self.vocabulary, self.last, self.previous, self.next, self.best, self.metrics):
            if path.is_dir():
                raise ChatbotError(f"{path} is a folder, where a file of the run goes: move it away")
        with atomic_file(self.config, "w") as file:
            file.write(json.dumps(config.to_dict(), indent=2) + "\n")
        vocabulary.save(self.vocabulary)

    def see_that_it_is_there(self) -> None:
        """A folder that somebody removed while it was trained would come back with less in it than a run has."""
        if not self.lock.exists():  # which is held, and stays there
            raise ChatbotError(f"{self.path} was removed, or moved, while it was trained: nothing more is written")

    def measurements(self) -> list[str]:
        """The lines of `metrics.jsonl`, each with its end; none where there is no such file.

        Raises:
            ChatbotError: it cannot be read, or is no regular file of at most MAX_METRICS bytes.
        """
        if not os.path.lexists(self.metrics):
            return []
        try:
            with failing_as(f"cannot read {self.metrics}"):
                content = read_whole(self.metrics, MAX_METRICS)
        except ValueError as error:
            raise ChatbotError(f"cannot read {self.metrics}: {error}") from error
        return content.decode("utf-8", "replace").splitlines(keepends=True)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write `last.pt`; the one that stood there becomes `last.previous.pt`."""
        checkpoint.save(self.next)
        self._advance()

    def _advance(self) -> None:
        with failing_as(f"cannot write {self.last}"):
            if self.last.exists():
                self.last.replace(self.previous)
            self.next.replace(self.last)

    def load_last(self) -> Checkpoint:
        """The newest whole checkpoint of the training, as `newest`."""
        return self.newest(lambda _: None)[0]

    def newest(self, look: Callable[[Checkpoint], State]) -> tuple[Checkpoint, State]:
        """The newest whole checkpoint to resume from; says on stderr if a newer one is damaged.

        Args:
            look: it looks at what a checkpoint has besides, and raises a ChatbotError where that will not do either.

        Returns:
            the checkpoint, and what `look` found.

        Raises:
            ChatbotError: there is none; what is wrong with the newest is said.
        """
        # `next` is there only if a kill came between the two renames of `save_last`; then it is whole and the newest
        there = [path for path in (self.next, self.last, self.previous) if path.exists()] or [self.last]
        wrong = list[ChatbotError]()
        for path in there:
            try:
                checkpoint = Checkpoint.load(path)
                found = checkpoint, look(checkpoint)
            except ChatbotError as error:
                wrong.append(error)
                continue
            for damage in wrong:
                print(f"{damage}; going on from {path.name}", file=sys.stderr)
            return found
        raise wrong[0]

    def tidy(self) -> None:
        """Remove what killed writers left half-written, and finish a save that was cut short between two renames."""
        tidy(self.path)
        if self.next.exists():
            self._advance()

    def load_chosen(self) -> Checkpoint:
        """What chat, evaluate and export open: `best.pt` or `last.pt` as the settings' `keep` says, else the other.

        How replies are found is as `config.json` says, which may be edited: no weight depends on that.

        Raises:
            ChatbotError: nothing was trained here yet, or a file is damaged.
        """
        if not self.is_trained:
            raise ChatbotError(f"{self.path} holds no trained model; train one: {command('train', self.path.name)}")
        keeps_last = self.config.exists() and Config.load(self.config).training.keep == "last"
        best = self.best.exists() and not (keeps_last and self.is_resumable)
        checkpoint = Checkpoint.load(self.best) if best else self.load_last()
        if self.config.exists():
            config = Config.load(self.config, over=checkpoint.config)
            if changed := differences(checkpoint.config, config, "decoding"):
                print(f"{self.config} was edited since the training: {'; '.join(changed.values())}", file=sys.stderr)
            checkpoint.config = dataclasses.replace(checkpoint.config, decoding=config.decoding)
        return checkpoint


def _last_written(run: Path) -> float:
    times = [0.0]
    for file in run.glob("*.pt"):
        with contextlib.suppress(OSError):  # a training renames them meanwhile
            times.append(file.stat().st_mtime)
    return max(times)


def find_run(name: str | None, folder: Path) -> RunDirectory:
    """The run called `name` in `folder`, or at the path `name`; without a name the one trained last, or else the
    one that came with the program.

    Raises:
        ChatbotError: there is no such run, or none at all.
    """
    # a hidden folder is one that is being written, or was left so
    runs = [path for path in sorted(folder.glob("[!.]*")) if RunDirectory(path).is_trained]
    if name is None:
        if runs:
            return RunDirectory(max(runs, key=lambda path: (path.name != PRETRAINED, _last_written(path))))
        if RunDirectory(BOX).is_trained:
            return RunDirectory(BOX, home=folder / PRETRAINED)
        raise ChatbotError(
            f"nothing is trained in {folder} yet; try: {command('train', corpus='sample')} (some minutes)"
        )
    # a corpus's folder here may have the run's name
    for path in (folder / name, Path(name)):
        if RunDirectory(path).is_trained:
            return RunDirectory(path)
    if name == PRETRAINED and RunDirectory(BOX).is_trained:
        return RunDirectory(BOX, home=folder / PRETRAINED)
    known = f"there are {', '.join(path.name for path in runs)}" if runs else f"train one: {command('train')}"
    raise ChatbotError(f"there is no trained run {name!r} in {folder}; {known}")


def load_base(name: str, folder: Path) -> tuple[str, Checkpoint]:
    """What a training goes on from: the run that `find_run` finds, or a checkpoint's file.

    Returns:
        what to call it, without the folders of this machine, and the checkpoint.

    Raises:
        ChatbotError: there is none, it is damaged, or it is an exported file, which cannot be trained.
    """
    path = Path(name)
    if not RunDirectory(folder / name).is_trained:
        if path.suffix == ".onnx" or is_bundle(path) or any((path / file).is_file() for file in (BUNDLE, ONNX)):
            raise ChatbotError(
                f"{name} is an exported bot, which cannot be trained: name its run, or the run's best.pt"
            )
        if path.suffix == ".tar":
            first = "if it is the tutorial's, import it first (chatbot import-checkpoint)"
            raise ChatbotError(f"{name} is no checkpoint of this program; {first}")
        if path.suffix == ".pt" or path.is_file():
            return "/".join(path.absolute().parts[-2:]), Checkpoint.load(path)
    run = find_run(name, folder)
    return run.path.name, run.load_chosen()


def bundle_of(path: Path) -> Path | None:
    """The bundle that a person names by this path: `chatbot.pt` itself, or the export's folder that holds it; or None.

    A bundle is a program. So none is opened for any other name, nor in the folder of a run, for that is data.
    """
    if path.is_dir() and not RunDirectory(path).is_run and (path / BUNDLE).is_file():
        return path / BUNDLE
    return path if path.name == BUNDLE and path.is_file() else None


def model_name(path: Path) -> str:
    """What clients call the model of a run's folder, of an export's, or of a file in one of them."""
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    return (folder.parent if folder.name == "export" else folder).name


def find_model(name: str | None, folder: Path) -> Path:
    """What to talk to: the run that `find_run` finds, an export's folder, or a file: checkpoint, bundle, ONNX."""
    if name is not None and Path(name).suffix in (".pt", ".onnx"):
        if not Path(name).is_file():
            raise ChatbotError(f"there is no file {name}")
        return Path(name)
    if name is not None and bundle_of(Path(name)):
        return Path(name)
    return find_run(name, folder).path
