"""The application: every door of the server, as ASGI. `server.py` puts it on a socket; whatever runs ASGI can."""

import contextlib
import dataclasses
import json
import mimetypes
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import IO

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from .. import __version__
from ..chat.bot import Chatbot
from ..config.presets import DECODINGS
from .answers import Answers, Prompt
from .batches import Batches
from .bodies import body_of, check_turns, events_in_time, unless_gone
from .completions import Completions
from .guard import Guard
from .limits import Limits
from .metrics import Metrics
from .openapi import document
from .refusal import RefusalError
from .schema import Asked, parsed

PAGE = Path(__file__).parent / "page"
STATUS = {404: "there is nothing here", 405: "this door wants another method"}


def create_application(
    bot: Chatbot,
    name: str,
    *,
    limits: Limits | None = None,
    key: str | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    log: IO[str] | None = None,
) -> Starlette:
    """The server of a bot.

    Args:
        name: what clients call the model. key: what they must show; None lets everybody in. hosts: names that the
            server may be called by; None is any. origins: hosts whose pages may use it (CORS). log: where prompts and
            replies are written; None is nowhere.
    """
    limits, metrics = limits or Limits(), Metrics()
    batches = Batches(bot, metrics, waiting=limits.waiting, batch=limits.batch)
    answers = Answers(bot, name, batches, limits, metrics, log)
    doors, completions = Doors(answers), Completions(answers)
    routes: list[BaseRoute] = [
        Route("/reply", doors.reply, methods=["POST"]),
        Route("/info", doors.info),
        Route("/v1/chat/completions", completions.chat, methods=["POST"]),
        Route("/v1/models", completions.models),
        Route("/v1/models/{id:path}", completions.model),
        Route("/healthz", doors.healthy),
        Route("/readyz", doors.ready),
        Route("/metrics", doors.figures),
        Route("/openapi.json", _fixed(json.dumps(document(name)).encode(), "application/json")),
        *page_routes(),
    ]
    guard = Middleware(
        Guard,
        limits=limits,
        metrics=metrics,
        key=key,
        hosts=hosts,
        routes={route.path for route in routes if isinstance(route, Route)},
    )
    cors = Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"])

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        batches.open()
        yield
        await batches.close()

    application = Starlette(
        routes=routes,
        middleware=[cors, guard] if origins else [guard],
        exception_handlers={RefusalError: _refused, HTTPException: _no_door, ClientDisconnect: _gone},  # type: ignore[dict-item]
        lifespan=lifespan,
    )
    application.state.batches = batches  # for who runs it, and asks whether it is well
    return application


class Doors:
    """What is not OpenAI's: POST /reply, and what machines ask."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def reply(self, request: Request) -> Response:
        """POST /reply"""
        answers = self.answers
        asked = parsed(Asked, await body_of(request, answers.limits))
        check_turns([asked.text], answers.limits, "text")
        check_turns(asked.history, answers.limits, "history[{}]")
        prompt = await answers.ask(asked.text, asked.history, answers.decoding(asked.decoding), streams=asked.stream)
        if asked.stream:
            events = self._events(prompt, asked)
            return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        (reply, *_) = await unless_gone(request, answers.replies(prompt), answers.limits.timeout)
        return JSONResponse(answers.about(prompt, reply, attention=asked.attention))

    async def _events(self, prompt: Prompt, asked: Asked) -> AsyncIterator[str]:
        answers = self.answers
        try:
            async for event in events_in_time(answers.stream(prompt), answers.limits.timeout):
                if isinstance(event, str):
                    yield f"data: {json.dumps({'piece': event})}\n\n"
                else:
                    yield f"data: {json.dumps(answers.about(prompt, event[0], attention=asked.attention))}\n\n"
        except RefusalError as refusal:
            yield f"data: {json.dumps(refusal.body())}\n\n"
        finally:
            answers.leave(prompt)

    async def info(self, request: Request) -> Response:
        """GET /info"""
        bot = self.answers.bot
        return JSONResponse(
            {
                "name": self.answers.name,
                "version": __version__,
                "context": bot.context,
                "longest": bot.max_length,
                "characters": self.answers.limits.characters,
                "decoding": dataclasses.asdict(bot.decoding),
                "methods": list(DECODINGS),
            }
        )

    async def healthy(self, request: Request) -> Response:
        """GET /healthz"""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /readyz"""
        ready = self.answers.batches.is_ready
        return JSONResponse({"status": "ready" if ready else "busy"}, 200 if ready else 503)

    async def figures(self, request: Request) -> Response:
        """GET /metrics"""
        return Response(generate_latest(self.answers.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})


def page_routes() -> list[Route]:
    """The page's files, each under its name; the first of them under /, and the API's description under /docs."""
    made = []
    for file in sorted(PAGE.iterdir()):
        kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
        path = {"index.html": "/", "docs.html": "/docs"}.get(file.name, f"/{file.name}")
        made.append(Route(path, _fixed(file.read_bytes(), kind or "application/octet-stream")))
    return made


def _fixed(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    async def door(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return door


async def _refused(request: Request, refusal: RefusalError) -> Response:
    response = refusal.response()
    if refusal.status in (408, 413):  # the rest of the body is not read
        response.headers["connection"] = "close"
    return response


async def _no_door(request: Request, error: HTTPException) -> Response:
    says = STATUS.get(error.status_code, "this request is not understood")
    response = RefusalError(error.status_code, says).response()
    response.headers.update(error.headers or {})
    return response


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it
