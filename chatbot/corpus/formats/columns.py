"""Which column, or key of a record, is what: by the names that people give them, or as `--columns` says.

Two kinds of tables are told: a prompt and a reply a row, and a message a row.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ...system.errors import ChatbotError, shown

ROLES = {  # the names of each role, the surest first
    "prompt": (
        *("prompt", "question", "questions", "pattern", "patterns", "instruction", "input", "query", "user", "human"),
        *("request", "q", "source", "src", "message", "utterance", "sentence", "text", "context", "statement", "title"),
        *(
            "frage",
            "fragen",
            "pregunta",
            "preguntas",
            "domanda",
            "pergunta",
            "vraag",
            "вопрос",
            "вопросы",
            "问题",
            "问",
        ),
        *("質問", "질문", "سؤال", "प्रश्न"),
    ),
    "reply": (
        *("reply", "replies", "answer", "answers", "response", "responses", "output", "completion", "target", "tgt"),
        *("bot", "assistant", "a", "chosen"),
        *("antwort", "antworten", "respuesta", "respuestas", "réponse", "reponse", "risposta", "resposta", "antwoord"),
        *("ответ", "ответы", "答案", "回答", "答", "답변", "جواب", "إجابة", "उत्तर"),
    ),
    "text": ("utterance", "text", "content", "message", "body", "line", "msg", "dialogue"),
    "speaker": (
        *("speaker", "author", "sender", "from", "user", "name", "username", "nickname", "role", "character", "agent"),
        *("who", "speaker_idx", "speaker_id", "author_id", "authorid", "user_id", "sender_id", "sendername"),
    ),
    "conversation": (
        *("conversation_id", "conv_id", "dialogue_id", "dialog_id", "conversation", "dialogueid", "conversationid"),
        *("thread_id", "session_id", "chat_id", "dialog", "session", "thread", "episode", "movie"),
    ),
    "time": ("timestamp", "date", "time", "datetime", "created_at", "sent_at", "createdat", "ts"),
    "parent": ("in_response_to_tweet_id", "parent_id", "reply_to", "reply_to_id", "in_reply_to"),
}
ASKED = ("prompt", "reply", "text", "speaker", "conversation", "time")
# a word beside a known one that makes it another thing: `answer_id`, `question type`
OTHER = {
    "id",
    "ids",
    "no",
    "nr",
    "num",
    "number",
    "date",
    "time",
    "url",
    "score",
    "type",
    "count",
    "length",
    "lang",
    "idx",
}
WORDS = re.compile(r"[a-z]+|\d+")
MOST_COLUMNS, LONGEST_NAME = 1000, 80  # more columns have no header that is looked at, nor longer names a meaning


class Columns(NamedTuple):
    """The places, from 0, of what a table has: `prompt` and `reply`, or else `text` with what is said besides."""

    prompt: int | None = None
    reply: int | None = None
    text: int | None = None
    speaker: int | None = None
    conversation: int | None = None
    time: int | None = None
    further: int | None = None  # Alpaca's `input`, which belongs to its `instruction`

    @property
    def are_pairs(self) -> bool:
        """Whether a row is a prompt and a reply."""
        return self.prompt is not None and self.reply is not None

    def told(self, names: Sequence[str]) -> str:
        """What is what, for people."""
        found = {role: place for role, place in self._asdict().items() if place is not None}
        headed = {role: repr(names[place]) if place < len(names) else place + 1 for role, place in found.items()}
        named = [f"{role} {name}" for role, name in headed.items()]
        return "columns: " + ", ".join(named)


def asked(columns: str) -> dict[str, str]:
    """What `--columns prompt=3,reply=5` says: a number from 1 or a name of each role.

    Raises:
        ChatbotError: it is not so written, or names neither a prompt and a reply nor a text.
    """
    wanted: dict[str, str] = {}
    for piece in filter(None, columns.split(",")):
        role, equals, column = piece.partition("=")
        if not equals or role.strip() not in ASKED or not column.strip():
            raise ChatbotError(
                f"--columns {shown(columns)}: write prompt=3,reply=5 by number or name, or text=4,speaker=2: "
                f"there are {', '.join(ASKED)}"
            )
        wanted[role.strip()] = column.strip()
    if wanted and not ({"prompt", "reply"} <= wanted.keys() or "text" in wanted):
        raise ChatbotError(f"--columns {shown(columns)} must name a prompt and a reply, or a text")
    return wanted


def by_header(names: Sequence[str], loosely: bool = True) -> Columns | None:
    """The columns that a header names; None if it names neither pairs nor messages.

    Args:
        loosely: a name may have other words around it, as `bot response` has.
    """
    if len(names) > MOST_COLUMNS:
        return None
    plain = [name.strip().strip('"').lower() for name in names]
    prompt, reply = _place("prompt", plain, loosely), _place("reply", plain, loosely)
    if prompt is not None and reply is not None and prompt != reply:
        further = plain.index("input") if plain[prompt] == "instruction" and "input" in plain else None
        return Columns(prompt, reply, further=further)
    text = _place("text", plain, loosely)
    others = {role: _place(role, plain, loosely, (text,)) for role in ("speaker", "conversation", "time")}
    if text is None or (others["speaker"] is None and others["conversation"] is None):
        return None
    return Columns(text=text, **others)


def replies_by_id(names: Sequence[str]) -> bool:
    """Whether rows name the row that they reply to, in any order."""
    return _place("parent", [name.strip().lower() for name in names], False) is not None


def _place(role: str, names: Sequence[str], loosely: bool, taken: Sequence[int | None] = ()) -> int | None:
    """Where a role's column stands: by its whole name, or else by a word of it that no other word changes."""
    for name in ROLES[role]:
        if name in names and names.index(name) not in taken:
            return names.index(name)
    if not loosely or role in ("conversation", "parent"):
        return None
    words_of = [WORDS.findall(name) if len(name) <= LONGEST_NAME else [] for name in names]
    for name in ROLES[role]:
        for place, words in enumerate(words_of):
            if place not in taken and len(name) > 2 and name in words and not OTHER & set(words) and len(words) < 4:
                return place
    return None


def by_request(wanted: dict[str, str], names: Sequence[str], where: str) -> Columns:
    """The columns that `--columns` asks for.

    Raises:
        ChatbotError: there is no such column.
    """
    plain, found = [name.strip().strip('"').lower() for name in names], {}
    for role, column in wanted.items():
        if column.lower() in plain:
            found[role] = plain.index(column.lower())
        elif column.isdecimal() and len(column) < 10 and 1 <= int(column) <= len(names):
            found[role] = int(column) - 1
        else:
            raise ChatbotError(f"{where}: --columns {role}={shown(column)}: there are {', '.join(names)[:400]}")
    return Columns(**found)
