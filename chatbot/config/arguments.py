"""What can be typed: verbs and flags (one for each setting), and back from the flags that were given to settings."""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..system.errors import ChatbotError, printable
from ..system.files import exists, named
from .presets import DECODINGS, PRESETS, changed_decoding
from .settings import Config, CorpusConfig, DecodingConfig, ModelConfig, TrainingConfig, section_name


class Rare(str):
    """The help of a flag that `--help` leaves out and `--help-all` shows."""


# the settings that most people change: `--help` shows these, `--help-all` shows every one
EVERYDAY = {
    *("corpus", "format", "me", "max_length", "min_count", "context"),
    *("hidden_size", "encoder_layers", "decoder_layers", "dropout"),
    *("base", "rehearse", "steps", "batch_size", "learning_rate", "max_minutes", "seed"),
    *("method", "beam_width", "length_penalty", "samples", "temperature", "top_k", "top_p", "anti_lm"),
}


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, not the whole usage; `--help` on two screens, and `--help-all` for every flag."""

    shows_all = False

    def error(self, message: str) -> NoReturn:
        """Say it and leave with exit code 2."""
        self.exit(2, f"chatbot: {printable(message)}; see {self.prog} --help\n")

    def format_help(self) -> str:
        """The help of the flags that are shown now."""
        rare = {} if self.shows_all else {flag: flag.help for flag in self._actions if isinstance(flag.help, Rare)}
        for flag in rare:
            flag.help = argparse.SUPPRESS
        shown = super().format_help()
        for flag, help in rare.items():
            flag.help = help
        return shown + ("\n--help-all shows every flag\n" if rare else "")


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.shows_all = True  # type: ignore[attr-defined]
        parser.print_help()
        parser.exit()


class _Verb:
    """The flags of one verb in the making."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.add = parser.add_argument
        self.parser = parser
        self.add("--help-all", action=_HelpAll, nargs=0, help=Rare("show every flag"))

    def switch(self, name: str, help: str) -> None:
        self.add(name, action="store_true", help=help)

    def number(self, name: str, default: int, help: str, low: int = 0, high: int = 4096) -> None:
        said = Rare(f"{help} (default: {default})") if isinstance(help, Rare) else f"{help} (default: {default})"
        self.add(name, type=_whole(low, high), default=default, metavar="INT", help=said)

    def path(self, name: str, metavar: str, help: str, default: Path | None = None) -> None:
        self.add(name, type=Path, metavar=metavar, default=default, help=help)

    def run(self, help: str = "run's name or path (default: the latest)", name: str = "RUN") -> None:
        self.add("run", nargs="?", metavar=name, help=help)

    def json(self, what: str) -> None:
        self.switch("--json", Rare(f"{what} as JSON on stdout"))

    def data(self) -> None:
        self.path("--data-dir", "DIR", Rare("corpora (default: data)"), Path("data"))
        self.number("--workers", 0, Rare("processes that prepare; 0 is one a core"))

    def runs(self) -> None:
        self.path("--checkpoints-dir", "DIR", Rare("runs (default: checkpoints)"), Path("checkpoints"))

    def device(self, device: str, threads: int) -> None:
        self.add("--device", default=device, help=f"auto, cpu, cuda, ... (default: {device})")
        self.threads(threads)

    def mending(self, default: str) -> None:
        help = f"read an unknown word as the known one that it is a slip of (default: {default})"
        self.add("--mend-words", action=argparse.BooleanOptionalAction, default=None, help=Rare(help))

    def threads(self, default: int) -> None:
        self.number("--threads", default, "CPU threads; 0 is torch's choice")

    def settings(self, *sections: type) -> None:
        self.add("--preset", choices=tuple(PRESETS), help="named settings (default: by the corpus)")
        self.path("--config", "FILE", Rare("settings from a saved config.json"))
        add_flags(self.parser, *sections)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    whole.__name__ = f"number from {low} to {high}"  # argparse names it so in its message
    return whole


def parser(verbs: Mapping[str, Callable[[argparse.Namespace], int | None]]) -> argparse.ArgumentParser:
    """All verbs and flags.

    Args:
        verbs: what does each verb and returns an exit code (None is 0); what is parsed has it as `verb`.
    """
    whole = _Parser(prog="chatbot", description="A seq2seq chatbot you can train and deploy.", allow_abbrev=False)
    whole.add_argument("--version", action="version", version=f"chatbot {__version__}")
    parsers = whole.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, help: str, takes: str = "") -> _Verb:
        usage = f"chatbot {name} {takes}[FLAGS]"
        made = parsers.add_parser(name, help=help, description=help, usage=usage, allow_abbrev=False)
        made.set_defaults(verb=verbs[name])
        return _Verb(made)

    made = verb("prepare", "read a corpus and write numbered pairs")
    made.switch("--force", "prepare again even if nothing has changed")
    made.switch("--stats", "lengths, coverage and frequent replies as a table")
    made.json("the figures")
    made.data()
    made.settings(CorpusConfig)

    made = verb("train", "train a model on a corpus")
    made.add("--run", metavar="NAME", help="folder under checkpoints (default: the corpus's name)")
    made.switch("--resume", "continue a run exactly where it was saved")
    made.json("how it ended")
    made.number("--processes", 1, "processes that train together here")
    made.data()
    made.runs()
    made.device("auto", threads=0)
    made.settings(CorpusConfig, ModelConfig, TrainingConfig)

    made = verb("evaluate", "score a run on held-out pairs, and its replies beside people's", "[RUN] ")
    made.run()
    splits = ("train", "valid", "test")
    made.add("--split", dest="split_name", choices=splits, help="(default: test, or train where nothing is held out)")
    rows = f"rows of the table: default, {', '.join(DECODINGS)}, or with changes: beam:beam_width=10,anti_lm=0.5"
    ways = ["greedy", "default"]
    made.add("--decodings", nargs="+", default=ways, metavar="NAME", help=f"{rows} (default: {' '.join(ways)})")
    made.add("--rerank", metavar="RUN", help="run trained with --direction backward that chooses the replies")
    made.add("--compare", nargs="+", metavar="RUN", help="two runs or more, set side by side")
    made.number("--limit", 5000, "answer so many pairs, drawn at random; 0 is all; all are scored", high=1 << 40)
    made.number("--batch-size", 128, "pairs scored at once", low=1, high=1 << 20)
    made.path("--out", "FILE", "prompts, human replies and replies, between tabs")
    made.path("--plot", "FILE", "draw the figures, of the runs of --compare side by side: a .png, for example")
    made.add("--corpus", metavar="NAME|PATH", help="another corpus than the run's own: all its pairs")
    made.json("the figures")
    made.data()
    made.runs()
    made.device("auto", threads=0)

    made = verb("export", "write the deployable files of a run, and prove them", "[RUN] ")
    made.run()
    made.path("--out", "FOLDER", "where to (default: export in the run's folder)")
    made.mending("as the run's own")
    made.switch("--pack", "8-bit weights: chatbot.pt has a quarter of its size")
    made.switch("--onnx", "write chatbot.onnx, encoder.onnx, decoder.onnx instead")
    made.add("--quantize", choices=("int8",), help="write those with weights of 8 bits (chatbot.int8.onnx, ...)")
    made.switch("--web", "write web/ instead: a page that answers in the visitor's browser, without a server")
    made.switch("--triton", "write triton/ instead: a model repository for Triton's ONNX backend")
    made.add("--runtime", metavar="PATH|npm|cdn", help="onnxruntime-web for it: unpacked at PATH, fetched, or linked")
    made.json("what was written and compared")
    made.threads(1)
    made.runs()

    what = "write a run with 8-bit weights, a quarter of its size, to keep or pass on, with its deployable file"
    made = verb("pack", what, "RUN FOLDER ")
    made.add("run", metavar="RUN", help="run's name or path")
    made.path("folder", "FOLDER", "a new folder")
    made.add("--corpus", metavar="NAME|PATH", help="what its settings call the corpus (default: as the run's)")
    made.json("what was written and compared")
    made.runs()
    made.parser.set_defaults(threads=1)

    made = verb("import-checkpoint", "make a run of a checkpoint of the PyTorch chatbot tutorial", "FILE RUN ")
    made.path("file", "FILE", "what the tutorial saved, such as 4000_checkpoint.tar")
    made.add("run", metavar="RUN", help="folder under checkpoints")
    made.number("--max-length", 10, "the tutorial's MAX_LENGTH: a reply's tokens, EOS counted")
    made.add("--corpus", default="cornell", metavar="NAME|PATH", help="what it was trained on (default: cornell)")
    made.json("what was imported")
    made.runs()

    made = verb("chat", "talk to a run or an exported file", "[RUN|FILE] ")
    made.run("run, checkpoint or exported file (default: the latest run)", "RUN|FILE")
    made.add("--prompt", metavar="TEXT", help="answer this once and leave")
    made.path("--file", "PROMPTS", "answer each line of a file, many at once")
    made.path("--out", "REPLIES", "with --file: prompts and replies, between tabs")
    made.number("--batch-size", 256, "with --file: about how many replies are followed at once", low=1, high=1 << 16)
    made.path("--log", "FILE", "write prompts and replies there too, behind what it holds")
    made.mending("as the bot's own")
    made.switch("--quiet", "say nothing of unknown words")
    made.device("cpu", threads=1)
    made.add("--rerank", metavar="RUN", help="run trained with --direction backward that chooses the reply")
    made.runs()
    add_flags(made.parser, DecodingConfig)

    made = verb("serve", "a page to talk to a run or an exported file, and an API as OpenAI's", "[RUN|FILE] ")
    made.run("run, checkpoint or exported file (default: the latest run)", "RUN|FILE")
    made.add(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every one (default: this machine only)"
    )
    made.number("--port", 8000, "0 is any that is free", high=65535)
    what = "ask clients for the key that this variable of the environment holds"
    made.add("--api-key", nargs="?", const="CHATBOT_API_KEY", metavar="VARIABLE", help=f"{what} (CHATBOT_API_KEY)")
    made.add("--name", help="what clients call the model (default: the run's name)")
    made.path(
        "--log", "FILE", "write prompts and replies there, behind what it holds; without it they are kept nowhere"
    )
    made.mending("as the bot's own")
    made.number("--queue", 256, "requests that may wait; more are told to come again", low=1, high=1 << 20)
    made.number("--timeout", 30, "seconds from a request to its reply", low=1, high=3600)
    made.number("--batch-size", 64, "prompts answered side by side at most", low=1, high=1 << 12)
    made.add(
        "--allow-origin", nargs="+", default=(), metavar="URL", help=Rare("hosts whose pages may use the API (CORS)")
    )
    made.device("cpu", threads=1)
    made.add("--rerank", metavar="RUN", help=Rare("run trained with --direction backward that chooses the reply"))
    made.runs()
    add_flags(made.parser, DecodingConfig)
    return whole


def add_flags(parser: argparse.ArgumentParser, *sections: type) -> None:
    """One flag for each field of the dataclasses `sections`, shown with its value in the preset `default`.

    Absent flags set nothing.
    """
    for section in sections:
        values = getattr(PRESETS["default"], section_name(section))
        group = parser.add_argument_group(section_name(section) + " settings")
        for field in dataclasses.fields(section):
            kind = typing.get_type_hints(section)[field.name]
            default = "the run's own" if section is DecodingConfig else _shown(getattr(values, field.name))
            method = f"{field.metadata['method']}: " if field.metadata["method"] else ""
            said = f"{method}{field.metadata['help']} (default: {default})"
            options: dict[str, Any] = {"help": said if field.name in EVERYDAY else Rare(said)}
            if kind in (bool, bool | None):
                options["action"] = argparse.BooleanOptionalAction
            elif kind == tuple[str, ...]:
                options |= {"action": "append", "metavar": "TEXT"}
            elif typing.get_origin(kind) is tuple:
                options |= {"type": float, "nargs": len(typing.get_args(kind)), "metavar": "SHARE"}
            else:
                options |= {"type": kind, "metavar": None if field.metadata["choices"] else kind.__name__.upper()}
                options["choices"] = field.metadata["choices"]
                if word := field.metadata["zero"]:
                    options["type"] = _number_or(word)
            group.add_argument(
                "--" + (field.metadata["flag"] or field.name.replace("_", "-")),
                dest=f"{section_name(section)}.{field.name}",
                default=argparse.SUPPRESS,
                **options,
            )


def _number_or(word: str) -> Callable[[str], int]:
    def number(text: str) -> int:
        return 0 if text == word else int(text)

    number.__name__ = f"number or {word}"  # argparse names it so in its message
    return number


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def from_flags(arguments: argparse.Namespace, begun: Config | None = None, *, small: bool = False) -> Config:
    """Preset, then `--config FILE`, then the flags given: each overrules the one before.

    Without `--preset`, `auto` and other mixtures take the preset `everyday`, the corpus `sample` takes `sample`, every
    other corpus `default`.

    Args:
        begun: with `--from`, what stands for the preset.
        small: the corpus has so few pairs that they are learnt by heart, with the preset `sample`.

    Raises:
        ChatbotError: a value is out of bounds, or flags do not go together.
    """
    corpus = getattr(arguments, "corpus.corpus", "auto")
    mixed = corpus == "auto" or ("+" in corpus and not exists(corpus))
    by_corpus = "sample" if small or corpus == "sample" else "everyday" if mixed else "default"
    config = PRESETS[arguments.preset or by_corpus]
    if _names(corpus)[-1] not in ("auto", "sample"):  # in whose words the fallback is
        config = dataclasses.replace(config, decoding=dataclasses.replace(config.decoding, fallback=()))
    if arguments.preset != "tutorial" and brings_its_own(corpus) and "cornell" not in _names(corpus):
        config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, max_length=0))  # auto
    if begun:
        config = begun
    if arguments.config is not None:
        # what a run's file does not name is what it was before there was such a setting
        config = Config.load(named(arguments.config), over=config if arguments.preset or begun else Config())
    config = Config.from_dict(flags_given(arguments), over=config)
    if config.training.base and (arguments.preset or not (arguments.config or hasattr(arguments, "corpus.corpus"))):
        raise ChatbotError("--from takes a corpus to train on (--corpus), and no --preset: its settings are its own")
    if not config.training.base and (config.training.rehearse or config.corpus.old_corpus):
        raise ChatbotError("--rehearse and --old-corpus go with --from")
    if config.training.base and config.training.embeddings:
        raise ChatbotError("--embeddings does not go with --from: the bot's words have vectors already")
    return config


def chooses_preset(arguments: argparse.Namespace) -> bool:
    """Whether the preset is left to the size of a corpus of one's own."""
    asked = arguments.preset or arguments.config or getattr(arguments, "training.base", "")
    corpus = getattr(arguments, "corpus.corpus", "auto")
    return not asked and brings_its_own(corpus) and not {"auto", "cornell", "chitchat"} & set(_names(corpus))


def brings_its_own(corpus: str) -> bool:
    """Whether a path is among the corpora, and not only those that have names."""
    return not set(_names(corpus)) <= {"auto", "cornell", "chitchat", "sample"}


def _names(corpus: str) -> list[str]:
    if exists(corpus) or "+" not in corpus:
        return [corpus]
    return [part.partition("*")[0] for part in corpus.split("+")]


def decoding_from_flags(arguments: argparse.Namespace, own: DecodingConfig) -> DecodingConfig:
    """A run's `own` decoding with what the flags that were given say; for another method, that one's plain form.

    Raises:
        ChatbotError: a value is out of bounds, or a flag belongs to another method.
    """
    given = flags_given(arguments).get("decoding", {})
    method = given.get("method", own.method)
    return changed_decoding(own if method == own.method else DECODINGS[method], given)


def flags_given(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the flags say that were given, by section."""
    given: dict[str, dict[str, Any]] = {}
    for name, value in vars(arguments).items():
        section, dot, field = name.partition(".")
        if dot:
            given.setdefault(section, {})[field] = value
    return given
