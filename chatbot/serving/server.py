"""The application on a socket, by uvicorn: who sends half a request or none does not hold it up."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..system.errors import failing_as
from .guard import is_loopback
from .limits import Limits
from .refusal import RefusalError

KEPT_OPEN = 5  # seconds that a connection without a request stays open


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Raises:
        ChatbotError: there is no such address here, or somebody else listens there.
    """
    with failing_as(f"cannot listen on {host}, port {port} (--host, --port)"):
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)


def is_local(listening: socket.socket) -> bool:
    """Whether a socket is reached from this machine only."""
    return is_loopback(listening.getsockname()[0])


def url(listening: socket.socket) -> str:
    """The address to type into a browser."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # every address of this machine; this one always works here
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(application: ASGIApp, listening: socket.socket, limits: Limits, started: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, and then until the replies under way are sent; `started` is called at the start.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    config = uvicorn.Config(
        application,
        http=protocol(limits),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEPT_OPEN,
        timeout_graceful_shutdown=int(limits.timeout) + 1,
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    _Server(config, started).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """uvicorn's protocol within these limits."""

    class Protocol(HttpToolsProtocol):
        """uvicorn's, for which a request's head has a time and a size, and which refuses in JSON."""

        _timer: asyncio.TimerHandle | None = None
        _head: int | None = 0  # bytes of the head that is being read; None while there is none
        _is_whole = True  # whether the request that came last was read to its end

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head is not None:
                self._head += len(data)
            super().data_received(data)
            if self._head is not None and self._head > limits.head and not self.transport.is_closing():
                self._refuse(431, f"the head of the request has more than {limits.head:,} bytes")

        def on_message_begin(self) -> None:
            self._head, self._is_whole = self._head or 0, False
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop_waiting()
            self._head = None
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._is_whole = True
            if self.cycle.response_complete:  # it was refused before its body had come
                self._await_next()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._await_next()

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "this is no HTTP request")

        def _await_next(self) -> None:
            if self.transport.is_closing() or self.pipeline:
                return
            if self._is_whole:
                self._await_head()
            else:  # the rest of a body that nobody reads is no head, and has its time, too
                self._close_in_time()

        def _await_head(self) -> None:
            self._head = self._head or 0
            self._close_in_time()

        def _close_in_time(self) -> None:
            self._stop_waiting()
            self._timer = self.loop.call_later(limits.patience, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self, status: int, message: str) -> None:
            # before there is a request there is no application to answer it: as uvicorn's own, but in JSON
            body = json.dumps(RefusalError(status, message).body()).encode()
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
            self.transport.close()

    return Protocol
