"""OpenAI's chat completions over a `Chatbot`: what its clients send and read."""

import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..config.presets import DECODINGS
from ..config.settings import DecodingConfig
from .answers import Answers, Prompt, Reply
from .bodies import body_of, check_turns, events_in_time, unless_gone
from .refusal import RefusalError
from .schema import ChatCompletion, parsed

MOST_STOPS = 4


class Completions:
    """The doors under /v1."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.began = answers, int(time.time())

    async def models(self, request: Request) -> Response:
        """GET /v1/models"""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/ID"""
        self._check_model(request.path_params["id"])
        return JSONResponse(self._model())

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions"""
        answers = self.answers
        asked = parsed(ChatCompletion, await body_of(request, answers.limits))
        self._check_model(asked.model)
        turns = [message.text for message in asked.messages]
        check_turns(turns, answers.limits, "messages[{}]")
        if asked.messages[-1].role != "user":
            raise RefusalError(400, "the last message must be the user's: it is what is answered", param="messages")
        if len(asked.stops) > MOST_STOPS or not all(asked.stops):
            raise RefusalError(400, f"stop must be up to {MOST_STOPS} texts that are not empty", param="stop")
        limits = [most for most in (asked.max_tokens, asked.max_completion_tokens) if most is not None]
        *history, text = turns
        prompt = await answers.ask(
            text,
            history,
            self._decoding(asked),
            most_words=min(limits, default=None),
            streams=asked.stream and asked.n == 1,
            count=asked.n,
        )
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if asked.stream else "chat.completion",
            "created": int(time.time()),
            "model": answers.name,
        }
        if asked.stream:
            chunks = self._chunks(prompt, asked, head)
            return StreamingResponse(chunks, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        replies = await unless_gone(request, answers.replies(prompt), answers.limits.timeout)
        choices = [_choice(index, reply, asked.stops) for index, reply in enumerate(replies[: asked.n])]
        return JSONResponse({**head, "choices": choices, "usage": _usage(prompt, replies[: asked.n])})

    async def _chunks(self, prompt: Prompt, asked: ChatCompletion, head: dict[str, Any]) -> AsyncIterator[str]:
        options = asked.stream_options
        usage = {"usage": None} if options and options.include_usage else {}

        def chunk(delta: dict[str, str], index: int = 0, reason: str | None = None) -> str:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            return _event({**head, "choices": [choice], **usage})

        said, ended = "", ""  # what was found, and how much of it was sent
        for index in range(asked.n):
            yield chunk({"role": "assistant", "content": ""}, index)
        try:
            async for event in events_in_time(self.answers.stream(prompt), self.answers.limits.timeout):
                if isinstance(event, str):
                    said += event
                    sure = _sure(said, asked.stops)
                    if len(sure) > len(ended):
                        yield chunk({"content": sure[len(ended) :]})
                        ended = sure
                    continue
                for index, reply in enumerate(event[: asked.n]):
                    text, reason = _ended(reply, asked.stops)
                    if rest := text[len(ended) if asked.n == 1 else 0 :]:
                        yield chunk({"content": rest}, index)
                    yield chunk({}, index, reason)
                if usage:
                    yield _event({**head, "choices": [], "usage": _usage(prompt, event[: asked.n])})
            yield "data: [DONE]\n\n"
        except RefusalError as refusal:
            yield _event(refusal.body())
        finally:
            self.answers.leave(prompt)

    def _decoding(self, asked: ChatCompletion) -> DecodingConfig:
        """How these replies are found: the bot's own way, unless the request draws words or wants none drawn."""
        own = self.answers.bot.decoding
        seed = secrets.randbits(63) if asked.seed is None else asked.seed % (1 << 63)
        if asked.temperature == 0:
            decoding = DECODINGS["greedy"]
        elif asked.temperature is not None or asked.top_p is not None:
            temperature, share = asked.temperature or 1.0, 1.0 if asked.top_p is None else asked.top_p
            decoding = dataclasses.replace(
                DECODINGS["sample"],
                temperature=max(0.001, temperature),
                top_p=max(1e-6, share),
                seed=seed,
                samples=asked.n,
            )
        elif own.method == "sample":
            decoding = dataclasses.replace(own, seed=seed, samples=max(own.samples, asked.n))
        else:
            decoding = own
        if asked.n > 1 and decoding.method == "greedy":
            raise RefusalError(400, "greedy search has one reply: for more of them set temperature above 0", param="n")
        if asked.n > decoding.candidates:
            decoding = dataclasses.replace(decoding, beam_width=asked.n)
        return decoding

    def _check_model(self, name: str) -> None:
        if name != self.answers.name:
            says = f"there is one model here: {self.answers.name}"
            raise RefusalError(404, says, param="model", code="model_not_found")

    def _model(self) -> dict[str, Any]:
        return {"id": self.answers.name, "object": "model", "created": self.began, "owned_by": "chatbot"}


def _choice(index: int, reply: Reply, stops: list[str]) -> dict[str, Any]:
    text, reason = _ended(reply, stops)
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def _ended(reply: Reply, stops: list[str]) -> tuple[str, str]:
    """A reply's text up to the first of `stops`, and why it ends there."""
    places = [place for stop in stops if (place := reply.text.find(stop)) >= 0]
    if places:
        return reply.text[: min(places)], "stop"
    return reply.text, "length" if reply.cut else "stop"


def _sure(text: str, stops: list[str]) -> str:
    """As much of a text that grows as no stop can take back."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    for stop in stops:
        places += [len(text) - size for size in range(1, len(stop)) if text.endswith(stop[:size])]
    return text[: min(places, default=len(text))]


def _usage(prompt: Prompt, replies: list[Reply]) -> dict[str, int]:
    read, said = len(prompt.ids), sum(reply.words for reply in replies)
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
