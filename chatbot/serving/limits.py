"""What a server takes from one request and from one client, and how long it waits."""

from dataclasses import dataclass

from ..corpus.tokenizer import MAX_CHARACTERS


@dataclass(frozen=True)
class Limits:
    """Every bound of a server, in one place.

    body: bytes of a request. messages: turns in one request. characters: code points of one turn; a bot reads no more.
    waiting: requests in the queue; beyond it 503. each: requests that one address may have at work at once (this
    machine's own are not counted: there they are yourself, or a proxy that stands for many). candidates: replies that
    a search follows for one request. batch: prompts that are answered side by side. timeout: seconds from a request
    to its reply. patience: seconds that a request's head, and then its body, may take to arrive. head: bytes of a
    request's head.
    """

    body: int = 2 << 20
    messages: int = 1000
    characters: int = MAX_CHARACTERS
    waiting: int = 256
    each: int = 16
    candidates: int = 32
    batch: int = 64
    timeout: float = 30.0
    patience: float = 10.0
    head: int = 32 << 10
