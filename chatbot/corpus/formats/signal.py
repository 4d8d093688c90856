"""Signal's chats as the tool signal-export writes them: `[2019-05-29, 15:04] Me: Hi`. Signal itself exports no text."""

import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from . import whatsapp
from .dialogue import Dialogue, Head

LINE = re.compile(r"\[\d{4}-\d\d-\d\d,? \d\d:\d\d(?::\d\d)?\] [^:]{1,64}: ?")
# reactions, what is answered, and pictures
NO_WORDS = re.compile(r"\(- .* -\)|>.*|!?\[[^\[\]]*\]\([^()]*\)")


def looks_like(head: Head) -> bool:
    """Dates begin with the year, and no seconds stand in the brackets, unlike in WhatsApp's export from iOS."""
    return bool(head.lines and LINE.match(head.lines[0])) and (
        head.file.base.endswith(".md") or not re.match(r"\[\S+ \d\d:\d\d:", head.lines[0])
    )


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations, as WhatsApp's are read."""
    yield from whatsapp.read(file, reading, "signal-export's chat", NO_WORDS)
