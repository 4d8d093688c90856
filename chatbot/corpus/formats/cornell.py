"""The Cornell Movie-Dialogs Corpus as it was published (Danescu-Niculescu-Mizil and Lee 2011): two text files."""

import re
from collections.abc import Iterator

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue

LINES, CONVERSATIONS = "movie_lines.txt", "movie_conversations.txt"
ID_LIST = re.compile(r"\['([^'\\]+(?:', '[^'\\]+)*)'\]\s*")


def both_files(files: list[InputFile], where: str, wanted: bool) -> list[InputFile]:
    """Find LINES and CONVERSATIONS, nearest the top; beside a single file of them the other one is looked for.

    Args:
        wanted: whether the user asked for this format; if not and neither file is there, the list is empty.

    Raises:
        ChatbotError: one of the two is missing, or the user asked for this format and both are.
    """
    if len(files) == 1 and not files[0].member and (wanted or b" +++$+++ " in files[0].head()):
        files = [InputFile(str(path), path) for path in sorted(files[0].path.parent.iterdir()) if path.is_file()]
        wanted = True
    found = [[file for file in files if file.base == name] for name in (LINES, CONVERSATIONS)]
    if all(found):
        return [min(same, key=lambda file: file.name.count("/")) for same in found]
    if wanted or any(found):
        raise ChatbotError(f"{where} must hold both {LINES} and {CONVERSATIONS}")
    return []


def read(lines: InputFile, conversations: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """`L1 +++$+++ u0 +++$+++ m0 +++$+++ NAME +++$+++ text`, and `u0 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L2']`.

    All lines are held in memory, because only the second file gives their order. If an id comes twice, the last line
    counts. A line of white space is no turn, as in the tutorial and in ConvoKit's edition.
    """
    reading.layouts["the two files of Cornell"] += 1
    texts: dict[str, str | None] = {}
    for number, line in reading.lines(lines):
        fields = line.split(" +++$+++ ", 4)
        if len(fields) == 5:
            texts[fields[0]] = fields[4] if fields[4].strip() else None
        elif line not in ("\0", ""):
            reading.damaged(lines.name, number, "not five fields separated by ' +++$+++ '")
    for number, line in reading.lines(conversations):
        fields = line.split(" +++$+++ ")
        ids = ID_LIST.fullmatch(fields[3]) if len(fields) == 4 else None
        if ids:
            names = ids[1].split("', '")
            if missing := next((name for name in names if name not in texts), None):
                reading.damaged(conversations.name, number, "a line id that is unknown", f": {missing[:40]}")
            yield Dialogue(fields[2], names[0], [texts.get(name) for name in names])
        elif line not in ("\0", ""):
            reading.damaged(conversations.name, number, "not three fields and a list of line ids")
