"""`chatbot train`: from scratch, on from a bot, or on from where a run was stopped."""

import argparse
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from ..config.arguments import flags_given, from_flags
from ..config.settings import RESUMABLE, Config, retired_settings
from ..system.errors import ChatbotError, command, shown
from ..system.start import STOPPED
from .prepare import settings_of, tell_corpus
from .run import found_run, refuse_trained
from .told import say, tell_figures, try_next


def train(arguments: argparse.Namespace) -> int:
    """chatbot train"""
    from ..system.devices import pick_device
    from ..training.distributed import Group, launch

    if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
        return launch(arguments.processes, arguments.given, say)
    group = Group.join(pick_device(arguments.device))
    try:
        return _train(arguments, group)
    finally:
        group.close()


def _train(arguments: argparse.Namespace, group: Any) -> int:
    from ..corpus import preparation
    from ..corpus.vocabulary import Vocabulary
    from ..runs.directory import RunDirectory, find_run
    from ..training import finetuning
    from ..training.loop import train

    if not group.is_writer:  # the first process finds mistakes, gets and prepares the corpus; the others find it done
        group.wait()
    # torchrun begins its processes again after one has failed: they go on from the last checkpoint
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    run = RunDirectory(arguments.checkpoints_dir / arguments.run) if arguments.run else None
    start = vocabulary = None
    if arguments.resume:
        # a run that was killed before it first saved has its settings and nothing to talk to
        run = run if run and run.config.exists() else found_run(arguments, find_run)
        config = _resumed(arguments, run)
        if config.training.base:  # whose words the run has, with those that it learnt besides
            vocabulary = Vocabulary.load(run.vocabulary)
    else:
        config = settings_of(arguments)
        if run and not again:
            refuse_trained(run)
    vectors = config.training.embeddings
    if vectors and not (arguments.resume or again or Path(vectors).exists()):  # told before the corpus is read
        raise ChatbotError(f"there is no file {vectors}, from which --embeddings would take word vectors")
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
        tell_corpus(prepared)
        if start:
            say(start.notice)
    run = run or RunDirectory(arguments.checkpoints_dir / prepared.mixture.name)
    resume = (arguments.resume or again) and run.is_resumable
    if arguments.resume and not resume and config.training.base:
        raise ChatbotError(f"{run.path} was stopped before its state was first saved: begin it again, with --from")
    if arguments.resume and not resume:
        say(f"{run.path} was stopped before its state was first saved: training from the beginning")
    if not arguments.resume:
        if not again:
            refuse_trained(run)
        config = Config.load(run.config) if resume else _settled(config, prepared.mixture.spec, group, folder)
    outcome = train(config, folder, run, group, resume=resume, start=start and start.checkpoint)
    if group.is_writer:
        _report(outcome, config, run)
        figures = {"run": str(run.path), "step": outcome.step, "reason": outcome.reason}
        tell_figures(arguments, figures | {"perplexity": outcome.perplexity, "seconds": outcome.seconds})
    return STOPPED if outcome.reason == "interrupted" else 0


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
                    f"--resume keeps the run's settings, and this run was begun with {name} {before[name]}: "
                    "to change that, begin another run (--run NAME)"
                )
    if (saved.training.steps, saved.training.epochs) != (wanted.training.steps, wanted.training.epochs):
        say("the learning rate's schedule now reaches to the new last step")
    return wanted


def _settled(config: Config, corpus: str, group: Any, folder: Path) -> Config:
    """What `auto` has come to mean, written out, so that config.json alone repeats the run."""
    from ..corpus.prepared import load_vocabulary, settled
    from ..corpus.tokenizer import TOKENIZERS
    from ..decoding.fallback import fallback_ids, sayable
    from ..system.devices import pick_precision
    from ..training import batch_size

    config = dataclasses.replace(config, corpus=settled(config.corpus, folder))
    vocabulary = load_vocabulary(folder)
    training = dataclasses.replace(config.training, precision=pick_precision(config.training.precision, group.device))
    if not training.batch_size:
        size = batch_size.picked(config, len(vocabulary), group.device, group.size)
        training = batch_size.scaled(training, size)
        say(f"batches of {size:,} pairs: {training.steps:,} steps at a rate of up to {training.learning_rate:.2g}")
    decoding = config.decoding
    if not training.prompt_dropout:  # such a model cannot say how likely a reply is anyway
        decoding = dataclasses.replace(decoding, anti_lm=0.0)
    if decoding.fallback:
        ids_of = fallback_ids(vocabulary, TOKENIZERS[config.corpus.tokenizer], config.corpus.max_length)
        said = sayable(decoding.fallback, ids_of)
        for text in decoding.fallback:
            if text not in said and group.is_writer:
                say(f"the bot will not fall back to {shown(text)}: it is too long, or a word of it is unknown")
        least = decoding.min_confidence if said else 0.0
        decoding = dataclasses.replace(decoding, min_confidence=least, fallback=said)
    read = dataclasses.replace(config.corpus, corpus=corpus)
    return Config(read, config.model, training, decoding)


def _report(outcome: Any, config: Config, run: Any) -> None:
    why = {
        "steps": "all steps are taken",
        "patience": "held-out perplexity no longer falls",
        "minutes": f"no more steps fit into {config.training.max_minutes:g} minutes",
        "interrupted": "as you asked",
    }[outcome.reason]
    say(f"\nstopped after {outcome.step} steps and {outcome.seconds / 60:.1f} minutes of training: {why}")
    if outcome.perplexity is not None:
        say(f"held-out perplexity {outcome.perplexity:.2f} (the lowest)")
    for prompt, reply in outcome.samples:
        say(f"  > {prompt}\n  {reply}")
    go_on = [command("train", run.path.name, flags="--resume")] * (outcome.reason in ("interrupted", "minutes"))
    try_next(*go_on, command("chat", run.path.name), command("export", run.path.name))
