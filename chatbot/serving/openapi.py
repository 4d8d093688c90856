"""The API's description, for programs that read OpenAPI 3.1 and for the page /docs."""

from typing import Any

from pydantic.json_schema import models_json_schema

from .. import __version__
from .schema import Asked, ChatCompletion

TEXT = {"type": "string"}
REPLY = {
    "type": "object",
    "required": ["reply", "unknown"],
    "properties": {
        "reply": {**TEXT, "description": "empty where the text has no word"},
        "unknown": {"type": "array", "items": TEXT, "description": "words of the text that the bot never learnt"},
        "attention": {
            "type": ["object", "null"],
            "description": "which words the reply looked at, where that was asked for",
            "properties": {
                "read": {"type": "array", "items": TEXT, "description": "S words that the bot read"},
                "said": {"type": "array", "items": TEXT, "description": "T words that it said, <eos> the last"},
                "weights": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            },
        },
    },
}
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
REFUSALS = {
    "400": "a parameter is missing, unknown or out of bounds; the error names it",
    "401": "the key is missing or wrong",
    "408": "the body took too long to arrive",
    "413": "the body is too large",
    "415": "the body is no JSON",
    "429": "too many requests of this client at once",
    "503": "too many requests wait, or there was no reply in time; Retry-After says when to ask again",
}


def document(name: str) -> dict[str, Any]:
    """The description of a server whose bot is called `name`."""
    _, schemas = models_json_schema(
        [(Asked, "validation"), (ChatCompletion, "validation")], ref_template="#/components/schemas/{model}"
    )
    turn = {"role": "user", "content": "hello"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chatbot",
            "version": __version__,
            "description": f"Talk to the bot {name}. Clients of OpenAI's chat completions work with the base URL /v1.",
        },
        "paths": {
            "/reply": {
                "post": _post("The reply to a sentence", "Asked", REPLY, {"text": "hello", "history": []}, stream=True)
            },
            "/v1/chat/completions": {
                "post": _post(
                    "The same, as OpenAI has it",
                    "ChatCompletion",
                    {"type": "object", "description": "a chat completion, as OpenAI has it"},
                    {"model": name, "messages": [turn]},
                    stream=True,
                )
            },
            "/v1/models": {"get": _get("The one model that is served", {"type": "object"})},
            "/v1/models/{id}": {
                "get": {
                    **_get("The same by its id", {"type": "object"}),
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": TEXT}],
                }
            },
            "/info": {"get": _get("What the bot is, and how it finds replies", {"type": "object"})},
            "/healthz": {"get": _get("Whether the server lives", {"type": "object"}, keyed=False)},
            "/readyz": {"get": _get("Whether it takes requests now; 503 if not", {"type": "object"}, keyed=False)},
            "/metrics": {"get": _get("Figures for Prometheus", TEXT, kind="text/plain")},
        },
        "components": {
            "schemas": {**schemas["$defs"], "Error": ERROR},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "where the server has a key"}
            },
        },
    }


def _get(summary: str, answer: dict[str, Any], *, kind: str = "application/json", keyed: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {kind: {"schema": answer}}}},
    }
    return {**found, "security": [{}, {"key": []}]} if keyed else found


def _post(
    summary: str, schema: str, answer: dict[str, Any], example: dict[str, Any], *, stream: bool
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if stream:
        content["text/event-stream"] = {"schema": {**TEXT, "description": 'with "stream": true'}}
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": summary, "content": content},
            **{status: {"description": why, "content": error} for status, why in REFUSALS.items()},
        },
    }
