"""For the tests of the server: one that runs in a thread of this process, on a port of its own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from chatbot.chat.bot import Chatbot
from chatbot.serving import server
from chatbot.serving.application import create_application
from chatbot.serving.limits import Limits


@contextlib.contextmanager
def running(
    bot: Chatbot, limits: Limits | None = None, port: int = 0, name: str = "tiny", **more: Any
) -> Iterator[str]:
    """Its address, while it runs."""
    limits = limits or Limits()
    hosts = {"localhost", "127.0.0.1", "::1"}
    application = create_application(bot, name, limits=limits, **{"hosts": hosts, **more})
    ready, made = threading.Event(), list[uvicorn.Server]()

    class Told(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            made.append(self)
            ready.set()

    config = uvicorn.Config(
        application,
        http=server.protocol(limits),
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=600,
    )
    with server.listen("127.0.0.1", port) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(Told(config).serve([listening])))
        thread.start()
        assert ready.wait(60)
        try:
            yield server.url(listening)
        finally:
            made[0].should_exit = True
            thread.join()
