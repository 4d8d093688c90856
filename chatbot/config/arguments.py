"""What can be typed: verbs and flags, and the line that says which of them was not understood."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..system.errors import printable
from .flags import Rare, add_flags
from .presets import DECODINGS, PRESETS
from .settings import CorpusConfig, DecodingConfig, ModelConfig, TrainingConfig


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, not the whole usage; `--help` on two screens, and `--help-all` for every flag."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how, allow_abbrev=False)
        self._shows_all = False

    def format_help(self) -> str:
        """The help of the flags that are shown now."""
        hidden = [] if self._shows_all else [action for action in self._actions if isinstance(action.help, Rare)]
        said = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help() + ("\n--help-all shows every flag\n" if hidden else "")
        finally:
            for action, help in zip(hidden, said, strict=True):
                action.help = help

    def show_all(self) -> None:
        """Print the help of every flag, and leave."""
        self._shows_all = True
        self.print_help()
        self.exit()

    def error(self, message: str) -> NoReturn:
        """Say it and leave with exit code 2."""
        self.exit(2, f"chatbot: {printable(message)}; see {self.prog} --help\n")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    whole.__name__ = f"number from {low} to {high}"  # argparse names it so in its message
    return whole


_count = _whole(0, 4096)


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        assert isinstance(parser, _Parser)
        parser.show_all()


def parser(verbs: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """All verbs and flags.

    Args:
        verbs: what does each verb; what is parsed has it as `verb`.
    """
    whole = _Parser(prog="chatbot", description="A seq2seq chatbot you can train and deploy.")
    whole.add_argument("--version", action="version", version=f"chatbot {__version__}")
    parsers = whole.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, help: str, takes: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parsers.add_parser(
            name, help=help, description=help, usage=f"chatbot {name} {takes}[FLAGS]"
        )
        made.add_argument("--help-all", action=_HelpAll, nargs=0, help=Rare("show every flag"))
        made.set_defaults(verb=verbs[name])
        return made

    def settings(made: argparse.ArgumentParser, *sections: type) -> None:
        made.add_argument("--preset", choices=tuple(PRESETS), help="named settings (default: default, or sample)")
        made.add_argument("--config", type=Path, metavar="FILE", help=Rare("settings from a saved config.json"))
        add_flags(made, *sections)

    def threads(made: argparse.ArgumentParser, default: int) -> None:
        help = f"CPU threads; 0 is torch's choice (default: {default})"
        made.add_argument("--threads", type=_count, default=default, metavar="INT", help=help)

    def places(made: argparse.ArgumentParser, *, data: bool = False, runs: bool = False, device: bool = False) -> None:
        if data:
            made.add_argument(
                "--data-dir", type=Path, default=Path("data"), metavar="DIR", help=Rare("corpora (default: data)")
            )
            made.add_argument(
                "--workers", type=_count, default=0, metavar="INT", help=Rare("processes that prepare; 0 is one a core")
            )
        if runs:
            made.add_argument(
                "--checkpoints-dir",
                type=Path,
                default=Path("checkpoints"),
                metavar="DIR",
                help=Rare("runs (default: checkpoints)"),
            )
        if device:
            made.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
            threads(made, 0)

    made = verb("prepare", "read a corpus and write numbered pairs")
    made.add_argument("--force", action="store_true", help="prepare again even if nothing has changed")
    made.add_argument("--stats", action="store_true", help="lengths, coverage and frequent replies as table and plot")
    made.add_argument("--json", action="store_true", help=Rare("the manifest as JSON on stdout"))
    places(made, data=True)
    settings(made, CorpusConfig)

    made = verb("train", "train a model on a corpus")
    made.add_argument("--run", metavar="NAME", help="folder under checkpoints (default: the corpus's name)")
    made.add_argument("--resume", action="store_true", help="continue a run exactly where it was saved")
    made.add_argument("--json", action="store_true", help=Rare("how it ended as JSON on stdout"))
    made.add_argument(
        "--processes", type=_count, default=1, metavar="INT", help="processes that train together here (default: 1)"
    )
    places(made, data=True, runs=True, device=True)
    settings(made, CorpusConfig, ModelConfig, TrainingConfig)

    made = verb("evaluate", "score a run on held-out pairs, and its replies beside people's", "[RUN] ")
    made.add_argument("run", nargs="?", metavar="RUN", help="run's name or path (default: the latest)")
    made.add_argument(
        "--split",
        dest="split_name",
        choices=("train", "valid", "test"),
        help="(default: test, or train where nothing is held out)",
    )
    made.add_argument(
        "--decodings",
        nargs="+",
        default=["greedy", "default"],
        metavar="NAME",
        help=f"rows of the table: default, {', '.join(DECODINGS)}, or with changes: beam:beam_width=10,anti_lm=0.5 "
        "(default: greedy default)",
    )
    made.add_argument("--rerank", metavar="RUN", help="run trained with --direction backward that chooses the replies")
    made.add_argument("--compare", nargs="+", metavar="RUN", help="two runs or more, set side by side")
    made.add_argument(
        "--limit",
        type=_whole(0, 1 << 40),
        default=5000,
        metavar="INT",
        help="answer so many of the pairs, drawn at random; 0 is all (default: 5000; all are scored)",
    )
    made.add_argument(
        "--batch-size", type=_whole(1, 1 << 20), default=128, metavar="INT", help="pairs at once (default: 128)"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="prompts, human replies and replies, between tabs")
    made.add_argument("--corpus", metavar="NAME|PATH", help="another corpus than the run's own: all its pairs")
    made.add_argument("--json", action="store_true", help=Rare("the figures as JSON on stdout"))
    places(made, data=True, runs=True, device=True)

    made = verb("export", "write the deployable files of a run, and prove them", "[RUN] ")
    made.add_argument("run", nargs="?", metavar="RUN", help="run's name or path (default: the latest)")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="where to (default: export in the run's folder)")
    made.add_argument("--pack", action="store_true", help="round the weights; chatbot.pt has a quarter of its size")
    made.add_argument("--onnx", action="store_true", help="write chatbot.onnx, encoder.onnx, decoder.onnx instead")
    made.add_argument(
        "--quantize", choices=("int8",), help="write those with weights of 8 bits (chatbot.int8.onnx, ...)"
    )
    made.add_argument("--json", action="store_true", help=Rare("what was written and compared as JSON on stdout"))
    threads(made, 1)
    places(made, runs=True)

    made = verb(
        "pack", "write a run at a quarter of its size, to keep or pass on, with its deployable file", "RUN FOLDER "
    )
    made.add_argument("run", metavar="RUN", help="run's name or path")
    made.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")
    made.add_argument("--corpus", metavar="NAME|PATH", help="what its settings call the corpus (default: as the run's)")
    made.add_argument("--json", action="store_true", help=Rare("what was written and compared as JSON on stdout"))
    places(made, runs=True)

    made = verb("import-checkpoint", "make a run of a checkpoint of the PyTorch chatbot tutorial", "FILE RUN ")
    made.add_argument("file", type=Path, metavar="FILE", help="what the tutorial saved, such as 4000_checkpoint.tar")
    made.add_argument("run", metavar="RUN", help="folder under checkpoints")
    made.add_argument(
        "--max-length",
        type=_count,
        default=10,
        metavar="INT",
        help="the tutorial's MAX_LENGTH: a reply's tokens, EOS counted (default: 10)",
    )
    made.add_argument(
        "--corpus", default="cornell", metavar="NAME|PATH", help="what it was trained on (default: cornell)"
    )
    made.add_argument("--json", action="store_true", help=Rare("what was imported as JSON on stdout"))
    places(made, runs=True)

    made = verb("chat", "talk to a run or an exported file", "[RUN|FILE] ")
    made.add_argument("run", nargs="?", metavar="RUN|FILE", help="run, checkpoint or bundle (default: the latest run)")
    made.add_argument("--prompt", metavar="TEXT", help="answer this once and leave")
    made.add_argument("--file", type=Path, metavar="PROMPTS", help="answer each line of a file, many at once")
    made.add_argument("--out", type=Path, metavar="REPLIES", help="with --file: prompts and replies, between tabs")
    made.add_argument(
        "--batch-size", type=_whole(1, 1 << 16), default=256, metavar="INT", help="with --file: (default: 256)"
    )
    made.add_argument(
        "--log", type=Path, metavar="FILE", help="write prompts and replies there too, behind what it holds"
    )
    made.add_argument("--quiet", action="store_true", help="say nothing of unknown words")
    threads(made, 1)
    made.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    made.add_argument("--rerank", metavar="RUN", help="run trained with --direction backward that chooses the reply")
    places(made, runs=True)
    add_flags(made, DecodingConfig)
    return whole
