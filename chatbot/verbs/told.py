"""What a verb tells: people on stderr, and programs in one JSON object on stdout."""

import argparse
import json
import os
import sys
from typing import Any

from ..system.errors import printable


def say(text: str) -> None:
    """Tell people, on stderr; of the processes that train together, the first one speaks."""
    first = int(os.environ.get("WORLD_SIZE", 1)) <= 1 or os.environ.get("RANK") == "0"
    if first:
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


def try_next(*commands: str) -> None:
    """Tell what one may do now."""
    say("\n  ".join(("try next:", *commands)))


def tell_figures(arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    """With `--json`, one object for programs, on stdout."""
    if arguments.json:
        print(json.dumps(figures))
