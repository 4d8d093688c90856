"""WhatsApp's export of a chat, from Android (`31/12/2023, 23:59 - Ann: Hi`) and iOS (`[31/12/2023, 23:59:59] Ann: Hi`).

Dates stand in any order, times have 12 or 24 hours; a line without them goes on with the message before.
"""

import functools
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import DATE, TIME, clock, day, order_of

LONGEST = 65_536  # characters that a message of WhatsApp has at most
# marks of direction: iOS begins with one what is no one's words
MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
STAMP = rf"({DATE})[,،]?\s(?:[^\W\d]{{1,4}}\.? )?({TIME})"
ISOLATES = re.compile("[\u2066-\u2069]")  # around a name that is spoken to
LINE = re.compile(rf"[{MARKS}]*(?:\[{STAMP}\]|{STAMP}\s[-–])\s(.*)", re.DOTALL)
NAMED = re.compile(r"([^:\"“”«»]{1,64}): ?(.*)", re.DOTALL)
DELETED = {
    *("this message was deleted", "you deleted this message", "diese nachricht wurde gelöscht"),
    *("du hast diese nachricht gelöscht", "se eliminó este mensaje", "eliminaste este mensaje"),
    *("este mensaje fue eliminado", "ce message a été supprimé", "vous avez supprimé ce message"),
    *("questo messaggio è stato eliminato", "hai eliminato questo messaggio", "mensagem apagada"),
    *("esta mensagem foi apagada", "essa mensagem foi apagada", "você apagou esta mensagem"),
    *("dit bericht is verwijderd", "u hebt dit bericht verwijderd", "je hebt dit bericht verwijderd"),
    *("данное сообщение удалено", "вы удалили данное сообщение", "bu mesaj silindi", "bu mesajı sildiniz"),
    *("wiadomość usunięta", "此訊息已刪除", "此消息已删除", "このメッセージは削除されました", "यह मैसेज हटा दिया गया"),
    *("تم حذف هذه الرسالة", "삭제된 메시지입니다"),
}
MEDIA = re.compile(
    r"<[^<>]{3,60}>|null|(?:image|video|audio|sticker|gif|document|contact card|voice message|video note) omitted|"
    r"(?:missed )?(?:group )?(?:voice|video) call(?:, .*)?|waiting for this message\..*|"
    r"(?:live )?location(?: shared|: .*)|poll:.*|verpasster (?:sprach|video)anruf.*|llamada perdida.*|"
    r"appel (?:vocal|vidéo) manqué.*|chamada de (?:voz|vídeo) perdida.*|chiamata (?:vocale|video) persa.*|"
    r"пропущенный (?:аудио|видео)звонок.*|bild weggelassen|imagen omitida|image absente|immagine omessa",
    re.IGNORECASE | re.DOTALL,
)
ATTACHED = re.compile(
    r"[^\n]{1,200}\.(?:jpe?g|png|gif|webp|mp4|3gp|mov|opus|ogg|m4a|mp3|aac|pdf|docx?|xlsx?|pptx?|vcf|zip|txt|apk)"
    r" \([^\n()]{3,40}\)(?:\n|$)",
    re.IGNORECASE,
)
EDITED = re.compile(rf"\s?[{MARKS}]?<(?:this message was edited|diese nachricht wurde bearbeitet|se editó este mensaje|"
    r"ce message a été modifié|questo messaggio è stato modificato|mensagem editada|dit bericht is bewerkt)\.?>\s*$",
    re.IGNORECASE)  # fmt: skip
# with which MEDIA begins, but for "<": few messages do
MEDIA_WORDS = {
    *(
        "null",
        "image",
        "video",
        "audio",
        "sticker",
        "gif",
        "document",
        "contact",
        "voice",
        "missed",
        "group",
        "waiting",
    ),
    *("live", "location", "poll", "verpasster", "llamada", "appel", "chamada", "chiamata", "пропущенный", "bild"),
    *("imagen", "immagine"),
}


def looks_like(head: Head) -> bool:
    """Its first line begins with a date and a time in WhatsApp's way, and a name follows them in one of the lines."""
    found = [_begun(line) for line in head.lines]
    return bool(found and found[0]) and any(line and NAMED.match(line[5]) for line in found)


def read(
    file: InputFile, reading: Reading, program: str = "WhatsApp's export", no_words: re.Pattern[str] | None = None
) -> Iterator[Dialogue]:
    """Yield the conversations; what the program wrote itself, media, and deleted messages are left out.

    Args:
        program: whose export it is.
        no_words: lines of messages that are no one's words.
    """
    head = [found for line in Head.of(file).lines if (found := _begun(line))]
    order = order_of(found[1] or found[3] for found in head)
    layout = "iOS" if head and head[0][1] else "Android"
    layout = f"{program} ({f'{layout}, ' * (program[0] == 'W')}{order})"
    messages = functools.partial(_messages, file, order, no_words)
    yield from conversations(messages, reading, layout, speakers=functools.partial(_speakers, file))


def _begun(line: str) -> re.Match[str] | None:
    """The date, time and rest of a line that begins a message; right-to-left marks stand inside an Arabic date."""
    if "\u200f" in line:
        line = line[:40].replace("\u200f", "") + line[40:]
    return LINE.match(line)


def _speakers(file: InputFile) -> Iterator[str]:
    """Who writes, told more quickly than by `_messages`."""
    for _, line in Reading().lines(file):
        if (found := _begun(line)) and (named := NAMED.match(found[5])):
            yield _name(named[1])


def _name(name: str) -> str:
    return name.strip(MARKS + " ~\u202f\xa0")


def _messages(file: InputFile, order: str, no_words: re.Pattern[str] | None, reading: Reading) -> Iterator[Message]:
    name = ""  # before the first, and behind a line of the program's own
    moment: float | None = None
    lines: list[str] = []
    size, begun = 0, False
    for number, line in reading.lines(file):
        found = _begun(line)
        if (found or line == "\0") and name:
            if said := _said(lines, no_words, reading):
                yield Message(name, said, moment)
            name = ""
        if found:
            lines, size, begun = [], 0, True
            if named := NAMED.match(found[5]):
                name, lines = _name(named[1]), [named[2]]
                begins, at = day(found[1] or found[3], order), clock(found[2] or found[4])
                moment = None if begins is None or at is None else begins + at
            else:
                reading.left_out["lines of the program's own"] += 1
        elif line == "\0":
            yield Message("", None)
        elif not begun or size > LONGEST:
            if line.strip():
                reading.damaged(file.name, number, "no date, time and name, and no message that it goes on with")
        else:
            lines.append(line)
            size += len(line) + 1
    if name and (said := _said(lines, no_words, reading)):
        yield Message(name, said, moment)


def _said(lines: list[str], no_words: re.Pattern[str] | None, reading: Reading) -> str:
    """The text of a message; "" if it is none of the speaker's own words."""
    if no_words:
        kept = [line for line in lines if not no_words.fullmatch(line.strip())]
        reading.left_out["reactions, quotations and media"] += len(lines) - len(kept)
        lines = kept
    text = "\n".join(lines)
    while "(" in text and (attached := ATTACHED.match(text.lstrip(MARKS))):
        reading.left_out["media"] += 1
        text = text.lstrip(MARKS)[attached.end() :]
    if "<" in text and EDITED.search(text):
        reading.left_out["marks of edits"] += 1
        text = EDITED.sub("", text)
    bare = text.strip(MARKS + " \n")
    words = bare.split()
    if not words:
        return ""
    if bare.rstrip(".。").lower() in DELETED:
        reading.left_out["deleted messages"] += 1
        return ""
    may_be_media = bare[0] == "<" or words[0].rstrip(":").lower() in MEDIA_WORDS
    if text.startswith("\u200e") or (may_be_media and MEDIA.fullmatch(bare)):
        reading.left_out["media"] += 1
        return ""
    said = " ".join(words)
    return said if said.isascii() else ISOLATES.sub("", said)
