"""ChatGPT's export, `conversations.json`: conversations, each a tree of messages, of which one branch is shown."""

import re
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import Path, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .records import dialogues_of

MAPPING = re.compile(r'"mapping"\s*:\s*\{')
SHOWN = ("user", "assistant")


def looks_like(head: Head) -> bool:
    return head.begins_with("[", "{") and bool(MAPPING.search(head.text)) and '"author"' in head.text


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the branch of each conversation that was shown last; only what the assistant says is learnt as replies."""
    reading.layouts["ChatGPT's export; learnt as replies: what assistant says"] += 1
    for path, value in values(file, reading, _enters):
        reading.records += 1
        nodes = value.get("mapping") if isinstance(value, dict) else None
        if not isinstance(nodes, dict):
            reading.damaged(file.name, 0, "no conversation with messages", f": number {path[-1] if path else 0}")
            continue
        turns = [turn for node in _branch(nodes, value.get("current_node")) if (turn := _turn(node, reading))]
        yield from dialogues_of(turns, reading) or ()


def _enters(path: Path) -> bool:
    return path == ()


def _branch(nodes: dict[str, Any], last: Any) -> list[Any]:
    """The messages that lead to the last one, each once."""
    if not isinstance(last, str) or last not in nodes:
        last = next(reversed(nodes), None)
    found: dict[str, Any] = {}
    while isinstance(last, str) and last in nodes and last not in found and isinstance(nodes[last], dict):
        found[last] = nodes[last].get("message")
        last = nodes[last].get("parent")
    return list(reversed(found.values()))


def _turn(message: Any, reading: Reading) -> dict[str, str] | None:
    """Who says what; None of what is not shown, or has no text."""
    author = message.get("author") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(author, dict) or not isinstance(content, dict):
        return None
    parts = content.get("parts")
    text = " ".join(part for part in parts if isinstance(part, str)) if isinstance(parts, list) else ""
    if author.get("role") in SHOWN and content.get("content_type") in ("text", "multimodal_text") and text.strip():
        return {"role": str(author["role"]), "content": text}
    if text.strip():
        reading.left_out["turns of the system or of tools"] += 1
    return None
