"""Two parallel files: line 7 of the second answers line 7 of the first, as in `train.enc` and `train.dec`."""

import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head

# how the file of prompts and that of replies are named: by what stands behind the last dot, or by the whole name
NAMES = [
    *(
        ("enc", "dec"),
        ("src", "tgt"),
        ("source", "target"),
        ("from", "to"),
        ("input", "output"),
        ("in", "out"),
        ("q", "a"),
    ),
    *(("question", "answer"), ("questions", "answers"), ("prompt", "reply"), ("prompts", "replies")),
    *(("prompt", "response"), ("prompts", "responses"), ("post", "response"), ("posts", "responses")),
    *(("context", "response"), ("contexts", "responses")),
]
# unless they stand behind a dot they may mean anything: then the files must have as many lines as each other
WORDS = {name for both in NAMES[:7] for name in both}


def both_files(files: list[InputFile]) -> list[InputFile]:
    """Pairs of files, each the prompts and then the replies; beside a single file the other one is looked for."""
    named = {name for both in NAMES for name in both}
    if len(files) == 1 and not files[0].member and _ending(files[0]) in named and not _is_word(files[0]):
        found = both_files([InputFile(str(path), path) for path in _beside(files[0])])
        pairs = [found[i : i + 2] for i in range(0, len(found), 2)]
        return next((pair for pair in pairs if any(file.path.name == files[0].path.name for file in pair)), [])
    by_name = {_whole(file): file for file in files}
    found, taken = [], set[str]()
    for file in files:
        name, ending = _whole(file), _ending(file)
        others = [name[: len(name) - len(ending)] + reply for prompt, reply in NAMES if prompt == ending]
        other = next((other for other in others if other in by_name), None)
        if other is not None and not taken & {name, other} and _go_together(file, by_name[other]):
            found += [file, by_name[other]]
            taken |= {name, other}
    return found


def _beside(file: InputFile) -> list[Path]:
    """The files of a file's folder that may go with it, two or more, so that the search ends."""
    beside = [path for path in sorted(file.path.parent.iterdir()) if path.is_file()]
    return beside if len(beside) > 1 else [*beside, *beside]


def _whole(file: InputFile) -> str:
    """The name with its folder, without `.txt`."""
    name = (file.member or str(file.path)).lower().removesuffix(".gz")
    return name.removesuffix(".txt")


def _is_word(file: InputFile) -> bool:
    return "." not in PurePosixPath(_whole(file)).name and _ending(file) in WORDS


def _go_together(prompts: InputFile, replies: InputFile) -> bool:
    """Whether two files whose names match are parallel ones, which their names alone may not tell."""
    if not _is_word(prompts):
        return True
    heads = [Head.of(file) for file in (prompts, replies)]
    tables = any(line.count("\t") for head in heads for line in head.lines[:20])
    return (
        not tables
        and not any(head.begins_with("{", "[", "<", "> ") for head in heads)
        and _lines(prompts) == _lines(replies)
    )


def _lines(file: InputFile) -> int:
    return sum(1 for _ in Reading().lines(file))


def _ending(file: InputFile) -> str:
    name = PurePosixPath(_whole(file)).name
    return name.rpartition(".")[2] if "." in name else name.rpartition("_")[2].rpartition("-")[2]


def read(prompts: InputFile, replies: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield line by line the pair of both.

    Raises:
        ChatbotError: one has more lines than the other.
    """
    reading.layouts[f"two files of parallel lines: {prompts.base} and {replies.base}"] += 1
    line: tuple[int, str] | None
    for line, other in itertools.zip_longest(reading.lines(prompts), reading.lines(replies)):
        if line is None or other is None:
            longer, number = (prompts, line) if line else (replies, other)
            shorter = replies if longer is prompts else prompts
            raise ChatbotError(
                f"{longer.name} has a line {number[0] if number else 0:,}, and {shorter.name} ends before it: "
                "they must have as many lines as each other"
            )
        if "\0" not in (line[1], other[1]):
            yield Dialogue("", "", [line[1], other[1]])
