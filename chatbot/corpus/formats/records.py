"""A record of JSON to dialogues, whatever it is called by: a prompt and a reply, or the turns of a dialogue.

Read are `{"prompt": …, "reply": …}` under the usual names (Alpaca's and intents.json's too), lists of turns that are
texts or objects with a text (OpenAI's `messages`, ShareGPT's `conversations`), a history with its reply, and texts with
`Human:` and `Assistant:` in them. Where roles say who is the assistant, only its turns are learnt as replies.
"""

import html
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..reading import Reading
from .columns import ROLES, by_header
from .dialogue import Dialogue
from .messages import ended, is_newest_first
from .moments import moment

TURNS_KEYS = (
    *(
        "turns",
        "messages",
        "conversations",
        "conversation",
        "dialog",
        "dialogue",
        "utterances",
        "content",
        "log",
        "chat",
    ),
    *("items", "exchange", "thread"),
)
TEXT_KEYS = ("text", "content", "utterance", "value", "message", "body", "msg", "input_text", "transcript")
ROLE_KEYS = (
    *(
        "role",
        "from",
        "speaker",
        "sender",
        "author",
        "agent",
        "user",
        "creator",
        "name",
        "speaker_id",
        "sender_name",
        "who",
    ),
    *("sender_id", "speaker_idx"),
)
NAMES_INSIDE = ("role", "displayName", "name", "username", "id", "gaia_id", "user")  # {"author": {"role": …}}
TIME_KEYS = (
    *("timestamp", "date", "time", "created_at", "ts", "timestamp_ms", "created_date", "created", "createdat"),
    *("createddatetime", "created_utc", "originalarrivaltime", "sent_at", "datetime"),
)
MARK_UP = re.compile(r"<[^<>]{1,400}>")
LEFT_OUT = {"system", "tool", "function", "developer"}  # roles that are no one who talks
ASSISTANTS = {"assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "bing", "bard", "ai"}
USERS = {"user", "human", "prompter", "customer"}
HISTORY_KEYS = ("history", "context", "dialogue_history", "dialog_history", "previous_utterances", "contexts")
MARK = re.compile(r"(?:^|\n)\s*(?:###\s*)?(Human|User|Assistant|AI|Bot)\s*:\s*")
MAX_PRODUCT = 10_000  # pairs that the patterns and responses of one intent make
NO_TEXT = "neither a prompt and a reply nor two or more turns of text"


class Turn(NamedTuple):
    """What one speaker says, by a record; `speaker` is "" if it is not said who."""

    speaker: str
    text: str


def dialogues_of(record: Any, reading: Reading) -> list[Dialogue] | None:
    """The dialogues of a record; None if it is none, an empty list if it has none on purpose."""
    if isinstance(record, list):
        return _of_turns(record, reading)
    if not isinstance(record, dict):
        return None
    lowered = {str(key).strip().lower(): value for key, value in record.items()} if record else {}
    wanted = [part.partition("=") for part in reading.config.columns.lower().split(",")]
    named = {role.strip(): lowered.get(key.strip()) for role, _, key in wanted if key.strip() in lowered}
    if len(named) == 2 and named.keys() == {"prompt", "reply"}:
        return _of_pair(named["prompt"], named["reply"], {})
    for key in TURNS_KEYS:
        listed = _transposed(lowered.get(key))
        if isinstance(listed, list) and (found := _of_turns(listed, reading)) is not None:
            return found
    if (
        isinstance(lowered.get("history"), list)
        and isinstance(lowered.get("candidates"), list)
        and lowered["candidates"]
    ):
        return _after(
            lowered["history"], lowered["candidates"][-1]
        )  # PersonaChat's: the last candidate is the true one
    asked, answered = lowered.get("questions"), lowered.get("answers")
    if (
        isinstance(asked, list)
        and isinstance(answered, list)
        and all(isinstance(turn, dict) for turn in asked + answered)
    ):
        both = [turn for pair in zip(asked, answered, strict=False) for turn in pair]  # CoQA's
        return _of_turns(both, reading) if len(asked) == len(answered) and both else None
    said = lowered.get("data")  # UltraChat's
    if isinstance(said, list) and len(said) > 1 and all(isinstance(turn, str) for turn in said):
        return _of_turns(said, reading)
    if isinstance(lowered.get("chosen"), str) and MARK.search(lowered["chosen"]):
        return _of_marked(lowered["chosen"])
    prompt = next((lowered[key] for key in ROLES["prompt"] if _is_said(lowered.get(key))), None)
    reply = next((lowered[key] for key in ROLES["reply"] if _is_said(lowered.get(key))), None)
    history = next((lowered[key] for key in HISTORY_KEYS if isinstance(lowered.get(key), list)), None)
    if prompt is not None and reply is not None:
        return _of_pair(prompt, reply, lowered)
    if history and isinstance(reply, str):
        return _after(history, reply)
    if all(isinstance(value, str | int | float | None) for value in record.values()):
        columns = by_header(list(lowered))  # `bot_response` and its like
        if columns and columns.prompt is not None and columns.reply is not None:
            cells = list(lowered.values())
            return _of_pair(cells[columns.prompt], cells[columns.reply], {})
    if isinstance(lowered.get("text"), str) and len(MARK.findall(lowered["text"])) >= 2:
        return _of_marked(lowered["text"])
    return None


def _transposed(value: Any) -> Any:
    """The turns of `{"speaker": […], "text": […]}`, as data sets on the web write a list of records; else the value."""
    if not isinstance(value, dict) or not value or not all(isinstance(part, list) for part in value.values()):
        return value
    if len({len(part) for part in value.values()}) > 1 or not any(str(key).lower() in TEXT_KEYS for key in value):
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _is_said(value: Any, depth: int = 4) -> bool:
    """Whether it is a text, several texts, or an object with a text or several, at most `depth` objects deep."""
    if isinstance(value, dict):
        return depth > 0 and any(_is_said(value.get(key), depth - 1) for key in TEXT_KEYS)
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    )


def _texts(value: Any, depth: int = 4) -> list[str]:
    if isinstance(value, dict):
        return next((_texts(value[key], depth - 1) for key in TEXT_KEYS if _is_said(value.get(key), depth - 1)), [])
    return [value] if isinstance(value, str) else value


def _of_pair(prompt: Any, reply: Any, record: dict[str, Any]) -> list[Dialogue] | None:
    """Every prompt with every reply; Alpaca's `instruction` has its `input` behind it."""
    if not _is_said(prompt) or not _is_said(reply):
        return None
    prompts, replies = _texts(prompt), _texts(reply)
    instruction, further = record.get("instruction"), record.get("input")
    if isinstance(instruction, str) and isinstance(further, str):
        prompts = [f"{instruction}\n{further}".strip()]
    pairs = ([said, answer] for said in prompts for answer in replies)
    return [Dialogue("", "", list(pair)) for pair, _ in zip(pairs, range(MAX_PRODUCT), strict=False)]


def _after(history: list[Any], reply: Any) -> list[Dialogue] | None:
    """What answers a history: of its turns only the last is learnt from."""
    turns = [*history, reply]
    if len(turns) < 2 or not all(isinstance(turn, str) for turn in turns):
        return None
    return [Dialogue("", "", turns, len(turns) - 2)]


def _of_marked(text: str) -> list[Dialogue] | None:
    pieces = MARK.split(text)[1:]
    turns = [Turn(speaker.lower(), said.strip()) for speaker, said in zip(pieces[::2], pieces[1::2], strict=True)]
    return _dialogue(turns) if len(turns) > 1 else None


def _of_turns(listed: Sequence[Any], reading: Reading) -> list[Dialogue] | None:
    """The dialogue of a list of turns, and None if they are none."""
    if listed and isinstance(listed[-1], dict) and isinstance(listed[-1].get("candidates"), list):
        last = listed[-1]  # PersonaChat's: each turn has all before it
        history = last.get("history")
        turns = [*(history if isinstance(history, list) and history else [0]), *last["candidates"][-1:]]
        return [Dialogue("", "", turns)] if all(isinstance(turn, str) for turn in turns) and len(turns) > 1 else None
    if not reading.config.me and len(listed) > 1 and all(isinstance(turn, str) for turn in listed):
        return [Dialogue("", "", [*listed])]
    found = [turn_of(turn) for turn in listed]
    speakers = {turn.speaker.lower() for turn in found if turn}
    if None in found or not found:
        return None
    left_out, _ = parts_played(speakers)
    times = [moment(time) for value in listed if (time := time_of(value)) is not None]
    if is_newest_first([time for time in times if time is not None]):
        reading.left_out["lists of turns that were newest first: turned round"] += 1
        found = found[::-1]
    turns = [turn for turn in found if turn and turn.speaker.lower() not in left_out]
    if count := len(found) - len(turns):
        reading.left_out["turns of the system or of tools"] += count
    turns = [turn for turn in turns if turn.text.strip() or not turn.speaker]  # a call of a tool has no text
    if len(turns) < 2:
        return None if len(found) < 2 else []
    for turn in turns:
        if turn.speaker:
            reading.speakers[turn.speaker[:80]] += 1
    return _dialogue(turns, reading)


def parts_played(speakers: set[str]) -> tuple[set[str], set[str]]:
    """Of speakers in lower case, whose turns are left out, and who alone is learnt from (nobody: all are)."""
    if speakers & USERS and not speakers & ASSISTANTS:  # in dialogues about a task `system` is who answers
        return LEFT_OUT - {"system"}, speakers & {"system"}
    return LEFT_OUT, speakers & ASSISTANTS if speakers & USERS else set()


def _dialogue(turns: list[Turn], reading: Reading | None = None) -> list[Dialogue]:
    """The turns, those of one speaker that follow each other as one."""
    said = itertools.groupby(enumerate(turns), lambda turn: turn[1].speaker or turn[0])  # who is nobody says one turn
    merged = [_merged([turn for _, turn in together]) for _, together in said]
    speakers = [turn.speaker.lower() for turn in merged]
    _, answerers = parts_played(set(speakers))
    answers = None
    if reading and reading.config.me:
        answers = [reading.is_me(turn.speaker) for turn in merged]
    elif answerers:
        answers = [speaker in answerers for speaker in speakers]
    return [Dialogue("", "", [turn.text for turn in merged], 0, answers)] if len(merged) > 1 else []


def _merged(turns: list[Turn]) -> Turn:
    *before, last = turns
    return last._replace(text=" ".join(filter(None, [*(ended(turn.text) for turn in before), last.text])))


def turn_of(value: Any) -> Turn | None:
    """A turn that is a text, or an object with one; None for anything else."""
    if isinstance(value, str):
        return Turn("", value)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int) and isinstance(value[1], str):
        return Turn(str(value[0]), value[1])  # BlendedSkillTalk's
    if not isinstance(value, dict):
        return None
    value = value if _is_small(value) else {str(key).lower(): part for key, part in value.items()}
    text = next((value[key] for key in TEXT_KEYS if key in value), None)
    if isinstance(text, list):  # OpenAI's parts
        parts = [part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str)]
        text = " ".join(parts)
    elif isinstance(text, dict):  # Teams'
        text = text.get("content", text.get("text"))
    body = value.get("body")
    if (
        isinstance(text, str)
        and isinstance(body, dict)
        and str(body.get("contenttype", body.get("contentType"))) == "html"
    ):
        text = html.unescape(MARK_UP.sub(" ", text))
    if text is None and value.get("role") is not None and "content" in value:
        text = ""  # a call of a tool
    return Turn(_speaker(value), text) if isinstance(text, str) else None


def _is_small(value: dict[str, Any]) -> bool:
    return not any(key != key.lower() for key in value)


def time_of(record: Any) -> Any:
    """When a message was written, if it says so, as it says it."""
    if not isinstance(record, dict):
        return None
    return next((part for key, part in record.items() if key.lower() in TIME_KEYS), None)


def _speaker(value: dict[str, Any]) -> str:
    for key in ROLE_KEYS:
        speaker = value.get(key)
        for _ in range(2):
            if isinstance(speaker, dict):
                speaker = next((speaker[name] for name in NAMES_INSIDE if speaker.get(name) is not None), None)
        if isinstance(speaker, str | int) and not isinstance(speaker, bool):
            return str(speaker)
    return ""


def records_in(value: Any, reading: Reading, depth: int = 4) -> Iterator[list[Dialogue] | None]:
    """Yield the dialogues of each record inside a value; None for what is no record."""
    found = dialogues_of(value, reading)
    if found is not None or depth == 0 or not isinstance(value, list | dict):
        yield found
        return
    inside = list(value.values() if isinstance(value, dict) else value)
    nested = [part for part in inside if isinstance(part, dict) or (isinstance(part, list) and not _is_said(part))]
    if not nested:
        yield None
    for part in nested:
        yield from records_in(part, reading, depth - 1)
