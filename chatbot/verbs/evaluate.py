"""`chatbot evaluate`: one run, or several side by side."""

import argparse
from pathlib import Path
from typing import Any

from ..system.errors import ChatbotError
from .prepare import tell_corpus
from .run import found_run
from .told import say, tell_figures


def evaluate(arguments: argparse.Namespace) -> None:
    """chatbot evaluate"""
    from ..evaluation import plot, scoreboard
    from ..evaluation.examination import Examination
    from ..runs.directory import find_run

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
        tell=tell_corpus,
        backward=None if arguments.rerank is None else find_run(arguments.rerank, arguments.checkpoints_dir),
    )
    if arguments.compare:
        evaluations = []
        for run in [find_run(name, arguments.checkpoints_dir) for name in arguments.compare]:
            evaluation = examination.kept(run)
            if evaluation is None:
                evaluation, _ = examination.examine(run)
                say(f"wrote {examination.keep(run, evaluation)}")
            evaluations.append(evaluation)
        say(scoreboard.side_by_side(evaluations))
        _draw(arguments.plot, evaluations)
        tell_figures(arguments, {"split": evaluations[0]["split"], "runs": evaluations})
        return
    run = found_run(arguments, find_run)
    evaluation, replies = examination.examine(run)
    say(scoreboard.table(evaluation))
    say(f"wrote {examination.keep(run, evaluation)}")
    if arguments.out:
        scoreboard.save_replies(arguments.out, replies)
        say(f"wrote {arguments.out}")
    _draw(arguments.plot, [evaluation])
    tell_figures(arguments, evaluation)


def _draw(path: Path | None, evaluations: list[Any]) -> None:
    if path:
        from ..chat.pictures import save_picture
        from ..evaluation import plot

        save_picture(path, plot.picture(evaluations))
        say(f"wrote {path}")
