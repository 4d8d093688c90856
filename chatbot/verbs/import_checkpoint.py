"""`chatbot import-checkpoint`: a checkpoint of the tutorial becomes a run."""

import argparse

from ..system.errors import command
from .run import refuse_trained
from .told import say, tell_figures, try_next


def import_checkpoint(arguments: argparse.Namespace) -> None:
    """chatbot import-checkpoint"""
    from ..runs.directory import RunDirectory
    from ..runs.tutorial import import_checkpoint, unreadable

    run = RunDirectory(arguments.checkpoints_dir / arguments.run)
    refuse_trained(run)
    corpus = arguments.corpus
    checkpoint = import_checkpoint(arguments.file, run, max_length=arguments.max_length, corpus=corpus)
    model, words = checkpoint.config.model, checkpoint.vocabulary
    say(
        f"{arguments.file}: {checkpoint.step:,} iterations; {len(words):,} words; hidden size {model.hidden_size}, "
        f"{model.encoder_layers} + {model.decoder_layers} layers, {model.attention} attention"
    )
    if strange := unreadable(checkpoint):
        say(
            f"the tutorial's normaliser never makes {len(strange):,} of the words, such as {strange[0]!r}: "
            "no prompt will hold them"
        )
    name = run.path.name
    say(f"wrote {run.path}")
    elsewhere = command("evaluate", name, flags="--corpus PATH")
    try_next(command("chat", name), command("export", name), f"{command('evaluate', name)} ({corpus}), or {elsewhere}")
    sizes = {name: getattr(model, name) for name in ("hidden_size", "encoder_layers", "decoder_layers", "attention")}
    figures = {"run": str(run.path), "step": checkpoint.step, "words": len(words), **sizes}
    tell_figures(arguments, figures | {"max_length": arguments.max_length})
