"""`chatbot prepare`, and what training does of the same: the settings that are meant, and what a corpus is."""

import argparse
from typing import Any

from ..config.arguments import chooses_preset, from_flags
from ..config.settings import Config, retired_settings
from ..system.files import named
from .told import say, tell_figures

FEW_PAIRS = 3000  # with fewer, a corpus is learnt by heart


def prepare(arguments: argparse.Namespace) -> None:
    """chatbot prepare"""
    from ..corpus import preparation, report

    corpus = settings_of(arguments).corpus
    prepared = preparation.prepare(corpus, arguments.data_dir, workers=arguments.workers, force=arguments.force)
    tell_corpus(prepared)
    if arguments.stats:
        say("\n" + report.table(prepared.figures))
        say(f"statistics in {report.save_table(prepared.folder, prepared.figures)}")
    say(f"prepared in {prepared.folder}")
    tell_figures(arguments, prepared.figures)


def settings_of(arguments: argparse.Namespace) -> Config:
    """Those that the flags ask for; of a corpus of few pairs, over the preset for such."""
    config = from_flags(arguments)
    if chooses_preset(arguments):
        from ..corpus.preparation import pairs_in

        if 0 < (pairs := pairs_in(config.corpus, arguments.data_dir, FEW_PAIRS)) < FEW_PAIRS:
            config = from_flags(arguments, small=True)
            few = "1 pair is" if pairs == 1 else f"{pairs:,} pairs are"
            say(f"{few} few: preset sample, which learns them by heart (--preset default overrules that)")
    if arguments.config and (gone := retired_settings(named(arguments.config), "corpus", "training", "decoding")):
        say(f"{arguments.config} asks for {', '.join(gone)}, which version 0.1 had: left out")
    return config


def tell_corpus(prepared: Any) -> None:
    """How a corpus was understood, and its first pairs as they are learnt."""
    from ..corpus.report import first_pairs, summary

    if prepared.mixture.notice:
        say(prepared.mixture.notice)
    if prepared.notice:
        say(prepared.notice)
    say(summary(prepared.figures))
    say(first_pairs(prepared.folder, prepared.figures))
