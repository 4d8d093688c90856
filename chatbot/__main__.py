"""The front door: `chatbot VERB`, or `python -m chatbot VERB`. The only reader of argv; a user's mistake ends here.

Exit codes: 0 done, 2 a mistake of the user's (one line on stderr), 130 stopped by Ctrl-C (state saved). What is for
people goes to stderr; `--json` puts one JSON object on stdout.
"""

from .system.start import STOPPED, begin, end

if __name__ == "__main__":
    begin()  # before all the imports below

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .config.arguments import chooses_preset, decoding_from_flags, flags_given, from_flags, parser
from .config.settings import RESUMABLE, Config, retired_settings
from .system.errors import ChatbotError, LostProcessError, command, failing_as, printable
from .system.files import named
from .system.process import wait_briefly
from .training import signals

FEW_PAIRS = 3000  # with fewer, a corpus is learnt by heart


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code. Without arguments they are the command line's, and this process ours."""
    if arguments is not None or signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, end):
        return _main(arguments)
    pressed = []

    def interrupt(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def unraisable(failure: Any) -> None:
        if failure.exc_type is KeyboardInterrupt:  # it came where Python lets no exception out: in a callback, say
            os._exit(STOPPED)
        sys.__unraisablehook__(failure)

    sys.unraisablehook = unraisable
    signal.signal(signal.SIGINT, interrupt)
    signals.ends_process = True
    try:
        return _main(None)
    except KeyboardInterrupt:  # once more, while the first was answered
        return STOPPED
    except Exception:
        if pressed:  # in the middle of an import, say, which then fails with anything
            return STOPPED
        raise
    finally:
        signal.signal(signal.SIGINT, end)


def _main(arguments: list[str] | None) -> int:
    wait_briefly()
    try:
        try:
            code = _verb(arguments)
        except SystemExit:  # of --help, which has printed
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # here, where a disk that is full still gets its line
        return code
    except LostProcessError as error:
        if os.environ.get("RANK") == "0":  # the others know no more than that
            print(f"chatbot: {error}", file=sys.stderr)
        return 2
    except ChatbotError as error:
        _forget_output()
        print(f"chatbot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _forget_output()
        print(file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # `chatbot ... | head`: nobody reads on
        _forget_output()
        return 0
    except OSError as error:  # a disk that is full or gone, or rights that are missing, where no file has a better word
        _forget_output()
        where = f"{error.filename}: " if error.filename else ""
        with contextlib.suppress(OSError):  # stderr may be a file on that disk
            print(f"chatbot: {where}{error.strerror or error}", file=sys.stderr)
        return 2


def _verb(arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parsed = parser(VERBS).parse_args(given, argparse.Namespace(given=given))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # bytes that are no text must not end a conversation
            stream.reconfigure(errors="replace")
    if threads := getattr(parsed, "threads", 0):  # 0 is torch's own choice
        import torch

        torch.set_num_threads(threads)
    return parsed.verb(parsed) or 0


def _forget_output() -> None:
    """Have what stdout could not take go nowhere, for Python tries it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def prepare(arguments: argparse.Namespace) -> None:
    """chatbot prepare"""
    from .corpus import preparation, report

    corpus = _settings(arguments, _say).corpus
    prepared = preparation.prepare(corpus, arguments.data_dir, workers=arguments.workers, force=arguments.force)
    _tell(prepared)
    if arguments.stats:
        _say("\n" + report.table(prepared.figures))
        _say(f"statistics in {report.save_table(prepared.folder, prepared.figures)}")
    _say(f"prepared in {prepared.folder}")
    _figures(arguments, prepared.figures)


def train(arguments: argparse.Namespace) -> int:
    """chatbot train"""
    from .system.devices import pick_device
    from .training.distributed import Group, launch

    if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
        return launch(arguments.processes, arguments.given, _say)
    group = Group.join(pick_device(arguments.device))
    try:
        return _train(arguments, group)
    finally:
        group.close()


def _train(arguments: argparse.Namespace, group: Any) -> int:
    from .corpus import preparation
    from .corpus.vocabulary import Vocabulary
    from .runs.directory import RunDirectory, find_run
    from .training import finetuning
    from .training.loop import train

    if not group.is_writer:  # the first process finds mistakes, gets and prepares the corpus; the others find it done
        group.wait()
    say = _say if group.is_writer else lambda text: None
    # torchrun begins its processes again after one has failed: they go on from the last checkpoint
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    run = RunDirectory(arguments.checkpoints_dir / arguments.run) if arguments.run else None
    start = vocabulary = None
    if arguments.resume:
        # a run that was killed before it first saved has its settings and nothing to talk to
        run = run if run and run.config.exists() else _found(arguments, find_run)
        config = _resumed(arguments, run)
        if config.training.base:  # whose words the run has, with those that it learnt besides
            vocabulary = Vocabulary.load(run.vocabulary)
    else:
        config = _settings(arguments, say)
        if run and not again:
            _refuse_trained(run)
    if config.training.base and not arguments.resume:
        places = arguments.checkpoints_dir, arguments.data_dir, functools.partial(from_flags, arguments)
        start = finetuning.begin(config.training.base, *places, workers=arguments.workers)
        config, prepared, folder = start.config, start.own, start.folder
    else:
        where, workers = arguments.data_dir, arguments.workers
        made = {"vocabulary": vocabulary, "trained": arguments.resume}
        prepared = preparation.prepare(config.corpus, where, workers=workers, **made)
        folder = prepared.folder
    if group.is_writer:
        group.wait()
        _tell(prepared)
        if start:
            _say(start.notice)
    run = run or RunDirectory(arguments.checkpoints_dir / prepared.mixture.name)
    resume = (arguments.resume or again) and run.is_resumable
    if arguments.resume and not resume and config.training.base:
        raise ChatbotError(f"{run.path} was stopped before its state was first saved: begin it again, with --from")
    if arguments.resume and not resume:
        say(f"{run.path} was stopped before its state was first saved: training from the beginning")
    if not arguments.resume:
        if not again:
            _refuse_trained(run)
        config = Config.load(run.config) if resume else _settled(config, prepared.mixture.spec, group, folder)
    outcome = train(config, folder, run, group, resume=resume, start=start and start.checkpoint)
    if group.is_writer:
        _report(outcome, config, run)
        figures = {"run": str(run.path), "step": outcome.step, "reason": outcome.reason}
        _figures(arguments, figures | {"perplexity": outcome.perplexity, "seconds": outcome.seconds})
    return 130 if outcome.reason == "interrupted" else 0


def _refuse_trained(run: Any) -> None:
    if run.is_trained:
        go_on = "" if run.is_imported else f"continue it ({command('train', run.path.name, flags='--resume')}), "
        raise ChatbotError(
            f"{run.path} holds a trained run already: {go_on}name another (RUN=name or --run name), "
            "or delete that folder"
        )


def _report(outcome: Any, config: Config, run: Any) -> None:
    why = {
        "steps": "all steps are taken",
        "patience": "held-out perplexity no longer falls",
        "minutes": f"{config.training.max_minutes:g} minutes are over",
        "interrupted": "as you asked",
    }[outcome.reason]
    _say(f"\nstopped after {outcome.step} steps and {outcome.seconds / 60:.1f} minutes of training: {why}")
    if outcome.perplexity is not None:
        _say(f"held-out perplexity {outcome.perplexity:.2f} (the lowest)")
    for prompt, reply in outcome.samples:
        _say(f"  > {prompt}\n  {reply}")
    go_on = [command("train", run.path.name, flags="--resume")] * (outcome.reason in ("interrupted", "minutes"))
    _try_next(*go_on, command("chat", run.path.name), command("export", run.path.name))


def _settled(config: Config, corpus: str, group: Any, folder: Path) -> Config:
    """What `auto` has come to mean, written out, so that config.json alone repeats the run."""
    from .corpus.prepared import load_vocabulary, settled
    from .system.devices import pick_precision
    from .training import batch_size

    config = dataclasses.replace(config, corpus=settled(config.corpus, folder))
    training = dataclasses.replace(config.training, precision=pick_precision(config.training.precision, group.device))
    if not training.batch_size:
        size = batch_size.picked(config, len(load_vocabulary(folder)), group.device, group.size)
        training = batch_size.scaled(training, size)
        _say(f"batches of {size:,} pairs: {training.steps:,} steps at a rate of up to {training.learning_rate:.2g}")
    decoding = config.decoding
    if not training.prompt_dropout:  # such a model cannot say how likely a reply is anyway
        decoding = dataclasses.replace(decoding, anti_lm=0.0)
    read = dataclasses.replace(config.corpus, corpus=corpus)
    return Config(read, config.model, training, decoding)


def evaluate(arguments: argparse.Namespace) -> None:
    """chatbot evaluate"""
    from .evaluation import plot, scoreboard
    from .evaluation.examination import Examination
    from .runs.directory import find_run

    if arguments.plot:
        plot.ready(arguments.plot)  # rather than after minutes
    if arguments.compare and (arguments.run or arguments.out or len(arguments.compare) < 2):
        raise ChatbotError("--compare takes the names of two runs or more, and neither another RUN nor --out")
    split = arguments.split_name
    if arguments.compare and not arguments.corpus:
        split = split or "test"  # the same for all
    examination = Examination(
        split=split,
        decodings=arguments.decodings,
        data_dir=arguments.data_dir,
        workers=arguments.workers,
        device=arguments.device,
        limit=arguments.limit,
        batch_size=arguments.batch_size,
        corpus=arguments.corpus,
        tell=_tell,
        backward=None if arguments.rerank is None else find_run(arguments.rerank, arguments.checkpoints_dir),
    )
    if arguments.compare:
        evaluations = []
        for run in [find_run(name, arguments.checkpoints_dir) for name in arguments.compare]:
            evaluation = examination.kept(run)
            if evaluation is None:
                evaluation, _ = examination.examine(run)
                _say(f"wrote {examination.keep(run, evaluation)}")
            evaluations.append(evaluation)
        _say(scoreboard.side_by_side(evaluations))
        _draw(arguments.plot, evaluations)
        _figures(arguments, {"split": evaluations[0]["split"], "runs": evaluations})
        return
    run = _found(arguments, find_run)
    evaluation, replies = examination.examine(run)
    _say(scoreboard.table(evaluation))
    _say(f"wrote {examination.keep(run, evaluation)}")
    if arguments.out:
        scoreboard.save_replies(arguments.out, replies)
        _say(f"wrote {arguments.out}")
    _draw(arguments.plot, [evaluation])
    _figures(arguments, evaluation)


def _draw(path: Path | None, evaluations: list[Any]) -> None:
    if path:
        from .chat.pictures import save_picture
        from .evaluation import plot

        save_picture(path, plot.picture(evaluations))
        _say(f"wrote {path}")


def export(arguments: argparse.Namespace) -> None:
    """chatbot export"""
    from .runs.directory import find_run

    run = _found(arguments, find_run)
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
        from .deployment.torchscript import export

        _report_export(arguments, folder, export(checkpoint, folder))


def _export_onnx(arguments: argparse.Namespace, folder: Path, checkpoint: Any) -> None:
    from .deployment.onnx import export_onnx, onnx_paths

    figures = {}
    for quantized in [False] * arguments.onnx + [True] * (arguments.quantize == "int8"):
        proof = export_onnx(checkpoint, folder, quantized=quantized)
        files = onnx_paths(folder, quantized)
        _say_proven(files, proof)
        sizes = {str(file): file.stat().st_size for file in files}
        figures["int8" if quantized else "fp32"] = {"files": sizes, **dataclasses.asdict(proof)}
    _try_next(command("chat", files[0]))
    _figures(arguments, figures)


def _export_triton(arguments: argparse.Namespace, folder: Path, checkpoint: Any, name: str) -> None:
    from .deployment.triton import TRITON, export_triton

    proof = export_triton(checkpoint, folder, name, quantized=arguments.quantize == "int8")
    files = sorted(file for file in (folder / TRITON / name).rglob("*") if file.is_file())
    _say_proven(files, proof)
    _try_next(f"tritonserver --model-repository {shlex.quote(str(folder / TRITON))}")
    sizes = {str(file): file.stat().st_size for file in files}
    _figures(arguments, {"path": str(folder / TRITON), "bytes": sizes, **dataclasses.asdict(proof)})


def _export_web(arguments: argparse.Namespace, folder: Path, checkpoint: Any, name: str) -> None:
    from .deployment.web import WEB, export_web
    from .deployment.web_runtime import runtime_from

    with runtime_from(arguments.runtime) as runtime:
        proof = export_web(checkpoint, folder, name, runtime)
    page = folder / WEB
    sizes = {str(file.relative_to(page)): file.stat().st_size for file in sorted(page.rglob("*")) if file.is_file()}
    _say(f"wrote {page}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    _say(f"runtime: {runtime.told}")
    _say(f"model.onnx read back and compared with the model in 8 bits: {proof}")
    _try_next(f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(page))}")
    runtime_facts = {"told": runtime.told, **runtime.describe()}
    _figures(arguments, {"path": str(page), "bytes": sizes, "runtime": runtime_facts, **dataclasses.asdict(proof)})


def _report_export(arguments: argparse.Namespace, folder: Path, proof: Any) -> None:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    _say_proven(files, proof)
    _try_next(command("chat", folder))
    sizes = {file.name: file.stat().st_size for file in files}
    _figures(arguments, {"path": str(folder), "bytes": sizes, **dataclasses.asdict(proof)})


def _say_proven(files: Sequence[Path], proof: Any) -> None:
    for file in files:
        _say_wrote(file)
    _say(f"compared with the model after reading back: {proof}")


def _say_wrote(file: Path) -> None:
    _say(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def pack(arguments: argparse.Namespace) -> None:
    """chatbot pack"""
    from .deployment.pack import pack
    from .runs.directory import RunDirectory, find_run

    proof = pack(_found(arguments, find_run), arguments.folder, arguments.corpus)
    made = RunDirectory(arguments.folder)
    _say_wrote(made.best)
    _report_export(arguments, made.export, proof)


def import_checkpoint(arguments: argparse.Namespace) -> None:
    """chatbot import-checkpoint"""
    from .runs.directory import RunDirectory
    from .runs.tutorial import import_checkpoint, unreadable

    run = RunDirectory(arguments.checkpoints_dir / arguments.run)
    _refuse_trained(run)
    corpus = arguments.corpus
    checkpoint = import_checkpoint(arguments.file, run, max_length=arguments.max_length, corpus=corpus)
    model, words = checkpoint.config.model, checkpoint.vocabulary
    _say(
        f"{arguments.file}: {checkpoint.step:,} iterations; {len(words):,} words; hidden size {model.hidden_size}, "
        f"{model.encoder_layers} + {model.decoder_layers} layers, {model.attention} attention"
    )
    if strange := unreadable(checkpoint):
        _say(
            f"the tutorial's normaliser never makes {len(strange):,} of the words, such as {strange[0]!r}: "
            "no prompt will hold them"
        )
    name = run.path.name
    _say(f"wrote {run.path}")
    elsewhere = command("evaluate", name, flags="--corpus PATH")
    _try_next(command("chat", name), command("export", name), f"{command('evaluate', name)} ({corpus}), or {elsewhere}")
    sizes = {name: getattr(model, name) for name in ("hidden_size", "encoder_layers", "decoder_layers", "attention")}
    figures = {"run": str(run.path), "step": checkpoint.step, "words": len(words), **sizes}
    _figures(arguments, figures | {"max_length": arguments.max_length})


def chat(arguments: argparse.Namespace) -> None:
    """chatbot chat"""
    from .chat.conversation import transcribe
    from .chat.terminal import converse
    from .serving.lines import answer_file, answer_lines

    if (arguments.file is None) != (arguments.out is None):
        raise ChatbotError("--file PROMPTS and --out REPLIES go together")
    if arguments.file is not None and (arguments.log is not None or arguments.prompt is not None):
        raise ChatbotError("--file answers a file into --out: leave out --log and --prompt")
    path, bot = _opened(arguments)
    if arguments.file is not None:
        count = answer_file(bot, arguments.file, arguments.out, arguments.batch_size)
        _say(f"wrote {arguments.out}: {count:,} replies")
        return
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_transcript(arguments.log))
        if arguments.prompt is not None:
            reply = bot.reply(arguments.prompt)
            print(reply)
            transcribe(log, arguments.prompt, reply)
        elif sys.stdin.isatty():
            converse(bot, str(path), quiet=arguments.quiet, log=log)
        else:
            answer_lines(bot, sys.stdin.buffer, sys.stdout, log)


def serve(arguments: argparse.Namespace) -> None:
    """chatbot serve"""
    try:
        from .serving import server
        from .serving.application import create_application
        from .serving.guard import key_in
        from .serving.limits import Limits
    except ImportError as error:
        raise ChatbotError(f"to serve, install the extra [serve] (pip install -e '.[serve]'): {error}") from error

    key = None if arguments.api_key is None else key_in(arguments.api_key)
    path, bot = _opened(arguments)
    name = arguments.name or _model_name(path)
    limits = Limits(batch=arguments.batch_size, waiting=arguments.queue, timeout=arguments.timeout)
    with _transcript(arguments.log) as log, server.listen(arguments.host, arguments.port) as listening:
        local = server.is_local(listening)
        if not local and key is None:
            _say("Anybody who reaches this machine can talk to the bot: --api-key asks for a key.")
        application = create_application(
            bot,
            name,
            limits=limits,
            key=key,
            hosts={"localhost", "127.0.0.1", "::1", str(listening.getsockname()[0])} if local else None,
            origins=arguments.allow_origin,
            log=log,
        )
        told = f"Serving {printable(name)} at {server.url(listening)} (API: /docs). Ctrl-C ends it."
        server.serve(application, listening, limits, started=lambda: _say(told))


def _model_name(path: Path) -> str:
    """What clients call the model of a run's folder, of an export's, or of a file in one of them."""
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    return (folder.parent if folder.name == "export" else folder).name


def _opened(arguments: argparse.Namespace) -> tuple[Path, Any]:
    """What is talked to, and its bot with the decoding and the reranking that the flags ask for."""
    from .chat.bot import Chatbot
    from .runs.directory import find_model

    path = _found(arguments, find_model)
    backward = None if arguments.rerank is None else find_model(arguments.rerank, arguments.checkpoints_dir)
    bot = Chatbot.load(path, arguments.device, mend_words=arguments.mend_words)
    bot = dataclasses.replace(bot, decoding=decoding_from_flags(arguments, bot.decoding))
    return path, bot.reranked_with(backward) if backward else bot


@contextlib.contextmanager
def _transcript(path: Path | None) -> Iterator[IO[str] | None]:
    """The file that prompts and replies are added to, if one was named."""
    if path is None:
        yield None
        return
    with failing_as(f"cannot write {path}"):
        file = path.open("a", encoding="utf-8", errors="replace")
    with file:
        yield file


def _found(arguments: argparse.Namespace, find: Callable[..., Any]) -> Any:
    """The run, or the path, that `find` finds; where none was named and it came with the program, that is said."""
    from .runs.directory import PRETRAINED

    found = find(arguments.run, arguments.checkpoints_dir)
    path = getattr(found, "path", found)
    if arguments.run is None and path.name == PRETRAINED:
        _say(f"Nothing is trained here yet: this is the bot that comes with the program ({path / 'MODEL_CARD.md'}).")
    return found


def _settings(arguments: argparse.Namespace, say: Callable[[str], None]) -> Config:
    config = from_flags(arguments)
    if chooses_preset(arguments):
        from .corpus.preparation import pairs_in

        if 0 < (pairs := pairs_in(config.corpus, arguments.data_dir, FEW_PAIRS)) < FEW_PAIRS:
            config = from_flags(arguments, small=True)
            say(f"{pairs:,} pairs are few: preset sample, which learns them by heart (--preset default overrules that)")
    if arguments.config and (gone := retired_settings(named(arguments.config), "corpus", "training", "decoding")):
        say(f"{arguments.config} asks for {', '.join(gone)}, which version 0.1 had: left out")
    return config


def _resumed(arguments: argparse.Namespace, run: Any) -> Config:
    """The settings of the run, with what the flags may change of them."""
    if run.is_imported:
        raise ChatbotError(f"{run.path} has no state to resume from, only weights: begin another run (--run NAME)")
    if arguments.preset or arguments.config:
        raise ChatbotError("--resume takes the run's own settings: leave out --preset and --config")
    saved = Config.load(run.config)
    if gone := retired_settings(run.config, "corpus", "training"):
        raise ChatbotError(
            f"{run.path} was trained with {', '.join(gone)}, which this version has not: resume it with version 0.1, "
            "or begin another run (--run NAME)"
        )
    wanted = Config.from_dict(flags_given(arguments), over=saved)
    for section in ("corpus", "model", "training"):
        before, after = (dataclasses.asdict(getattr(config, section)) for config in (saved, wanted))
        for name in before:
            if before[name] != after[name] and name not in RESUMABLE:
                raise ChatbotError(
                    f"--resume keeps the run's settings, and its {name} is {before[name]}: "
                    "to change that, begin another run (--run NAME)"
                )
    if (saved.training.steps, saved.training.epochs) != (wanted.training.steps, wanted.training.epochs):
        _say("the learning rate's schedule now reaches to the new last step")
    return wanted


def _tell(prepared: Any) -> None:
    from .corpus.report import first_pairs, summary

    if prepared.mixture.notice:
        _say(prepared.mixture.notice)
    if prepared.notice:
        _say(prepared.notice)
    _say(summary(prepared.figures))
    _say(first_pairs(prepared.folder, prepared.figures))


def _try_next(*commands: str) -> None:
    _say("\n  ".join(("try next:", *commands)))


def _say(text: str) -> None:
    first = int(os.environ.get("WORLD_SIZE", 1)) <= 1 or os.environ.get("RANK") == "0"
    if first:  # of the processes that train together, one speaks
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


def _figures(arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    if arguments.json:
        print(json.dumps(figures))


VERBS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "pack": pack,
    "import-checkpoint": import_checkpoint,
    "chat": chat,
    "serve": serve,
}


if __name__ == "__main__":
    code = main()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # a thread of torch's process group may outlive the interpreter, which then aborts: all is saved, so do not wait
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
