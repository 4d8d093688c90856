"""The run that a verb is of."""

import argparse
from collections.abc import Callable
from typing import Any

from ..system.errors import ChatbotError, command
from .told import say


def found_run(arguments: argparse.Namespace, find: Callable[..., Any]) -> Any:
    """The run, or the path, that `find` finds; where none was named and it came with the program, that is said."""
    from ..runs.directory import PRETRAINED

    found = find(arguments.run, arguments.checkpoints_dir)
    path = getattr(found, "path", found)
    if arguments.run is None and path.name == PRETRAINED:
        say(f"Nothing is trained here yet: this is the bot that comes with the program ({path / 'MODEL_CARD.md'}).")
    return found


def refuse_trained(run: Any) -> None:
    """Raise a ChatbotError if a run would be trained over."""
    if run.is_trained:
        go_on = "" if run.is_imported else f"continue it ({command('train', run.path.name, flags='--resume')}), "
        raise ChatbotError(
            f"{run.path} holds a trained run already: {go_on}name another (RUN=name or --run name), "
            "or delete that folder"
        )
