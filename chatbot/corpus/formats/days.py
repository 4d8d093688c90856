"""KakaoTalk's and LINE's exports as text: a line for each day, and a message a line under it.

KakaoTalk writes `[Ann] [9:04 PM] Hi` (that of its phones stands in `stamped`), LINE a time, a name and a text between
tabs.
"""

import functools
import itertools
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import DATE, TIME, clock, day, moment, order_of

LONGEST = 65_536  # characters of a message
KAKAO_DAY = re.compile(r"-{5,}\s*(?P<date>[^-].{4,40}?)\s*-{5,}")
LINE_DAY = re.compile(rf"(?:\w{{2,4}}\.?, ?)?(?P<date>{DATE})(?:\s?\(?\w{{1,10}}\.?\)?)?")
KAKAO = re.compile(rf"\[(?P<name>[^\[\]]{{1,60}})\] \[(?P<time>{TIME})\] (?P<text>.*)")
LINE = re.compile(rf"(?P<time>{TIME})\t(?P<name>[^\t]{{1,60}})\t(?P<text>.*)")
UNSENT = re.compile(rf"{TIME}\t[^\t]*")
MEDIA = re.compile(
    r"\[(?:sticker|photo|video|album|file|voice message|스탬프|スタンプ|写真|動画|アルバム|ファイル)\]|"
    r"\[(?:ボイスメッセージ|貼圖|照片|圖片|影片)\]|사진|동영상|이모티콘|음성메시지|photo|video|emoticons?|"
    r"(?:file|파일): .*|삭제된 메시지입니다\.?|this message was deleted\.?",
    re.IGNORECASE,
)


def looks_like(head: Head) -> bool:
    """A line of a day stands above messages of one kind."""
    for of_day, said in ((KAKAO_DAY, KAKAO), (LINE_DAY, LINE)):
        days = [place for place, line in enumerate(head.lines) if of_day.fullmatch(line.strip())]
        found = [place for place, line in enumerate(head.lines) if said.fullmatch(line)]
        if days and len(found) >= 2 and days[0] < found[0] and len(found) * 4 >= len(head.lines) - len(days) - 2:
            return True
    return False


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; pictures, stickers and what was unsent are left out."""
    lines = Head.of(file).lines
    is_kakao = any(map(KAKAO.fullmatch, lines))
    layout = "KakaoTalk's export" if is_kakao else "LINE's export"
    of_day, said = (KAKAO_DAY, KAKAO) if is_kakao else (LINE_DAY, LINE)
    dates = [found["date"] for line in lines if (found := of_day.fullmatch(line.strip()))]
    order = order_of(itertools.chain.from_iterable(re.findall(DATE, date) for date in dates))
    yield from conversations(functools.partial(_messages, file, of_day, said, order), reading, layout)


def _messages(
    file: InputFile, of_day: re.Pattern[str], said: re.Pattern[str], order: str, reading: Reading
) -> Iterator[Message]:
    message: Message | None = None
    begins: float | None = None  # of the day
    for number, line in reading.lines(file):
        of_line = said.fullmatch(line)
        date = None if of_line else of_day.fullmatch(line.strip())
        if message and (line == "\0" or of_line or date or UNSENT.fullmatch(line)):
            yield from _own(message, reading)
            message = None
        if line == "\0":
            yield Message("", None)
        elif of_line:
            at = clock(of_line["time"])
            moment_of = None if begins is None or at is None else begins + at
            message = Message(of_line["name"].strip(), of_line["text"].strip(), moment_of)
        elif date:
            in_numbers = re.search(DATE, date["date"])
            begins = day(in_numbers[0], order) if in_numbers else moment(date["date"])
        elif message is None:
            reading.left_out["lines of the program's own"] += bool(line.strip())
        elif len(message.text or "") > LONGEST:
            reading.damaged(file.name, number, "no time and name, and no message that it goes on with")
        elif line.strip():
            message = message._replace(text=f"{message.text} {line.strip()}")
    if message:
        yield from _own(message, reading)


def _own(message: Message, reading: Reading) -> Iterator[Message]:
    """The message, if it has words of its own."""
    text = (message.text or "").strip()
    if MEDIA.fullmatch(text):
        reading.left_out["media"] += 1
    else:
        yield message._replace(text=text.strip('"'))
