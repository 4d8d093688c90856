"""Reading a request within limits, and noticing that a client has gone."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request

from .limits import Limits
from .refusal import RefusalError

DRAINED = 32  # times the limit: so much of a body that is too large is read, so that its sender comes to the answer

Result = TypeVar("Result")


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body of a request of JSON.

    Raises:
        RefusalError: it says to be something else, is too large, or takes too long to arrive.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which a page of another host cannot send without asking first
        raise RefusalError(415, "send JSON, with the header content-type: application/json")
    found, size = [], 0
    with anyio.move_on_after(limits.patience):
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limits.body:
                found.append(chunk)
            elif size > DRAINED * limits.body:
                break
        if size > limits.body:
            raise RefusalError(413, f"the body has more than {limits.body:,} bytes")
        return b"".join(found)
    raise RefusalError(408, f"the body took longer than {limits.patience:g} s to arrive")


def check_turns(turns: Sequence[str], limits: Limits, name: str) -> None:
    """Refuse too many turns, or one that is too long.

    Raises:
        RefusalError: it names the turn, by `name`, which has its place for {}.
    """
    if len(turns) > limits.messages:
        where, most = name.partition("[")[0], limits.messages
        raise RefusalError(
            400, f"{where} has {len(turns):,} turns, and may have {most:,}", param=where, code="too_many_turns"
        )
    for place, turn in enumerate(turns):
        if len(turn) > limits.characters:
            where = name.format(place)
            says = f"{where} has {len(turn):,} characters, and may have {limits.characters:,}"
            raise RefusalError(400, says, param=where, code="string_above_max_length")


async def unless_gone(request: Request, work: Awaitable[Result], seconds: float) -> Result:
    """What `work` finds; it is cancelled when the client leaves, or when the time is over.

    Raises:
        ClientDisconnect: the client has left. RefusalError: the time is over, or as `work`.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if gone in done:
            raise ClientDisconnect
        raise late(seconds)
    finally:
        task.cancel()
        gone.cancel()


def late(seconds: float) -> RefusalError:
    """There was no reply in time."""
    says = f"no reply within {seconds:g} s: try again"
    return RefusalError(503, says, kind="server_error", code="timeout", retry=1)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def events_in_time(events: AsyncGenerator[Result, None], seconds: float) -> AsyncIterator[Result]:
    """The events of a stream.

    Raises:
        RefusalError: the time for all of it is over, or as `events`.
    """
    ends = asyncio.get_running_loop().time() + seconds
    try:
        while True:
            try:
                yield await asyncio.wait_for(anext(events), ends - asyncio.get_running_loop().time())
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError:
                raise late(seconds) from None
    finally:
        await events.aclose()
