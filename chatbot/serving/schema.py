"""What requests may hold, once: they are checked against these classes, and the OpenAPI page is made of them."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from .refusal import RefusalError

# parameters of OpenAI's API that a small bot has not, with the values by which they ask for nothing
ASKS_NOTHING: dict[str, list[Any]] = {
    "presence_penalty": [0],
    "frequency_penalty": [0],
    "logit_bias": [{}],
    "logprobs": [False],
    "top_logprobs": [0],
    "tools": [[]],
    "tool_choice": ["none", "auto"],
    "parallel_tool_calls": [True, False],
    "functions": [[]],
    "function_call": ["none", "auto"],
    "response_format": [{"type": "text"}],
    "modalities": [["text"]],
    "store": [False],
    "service_tier": ["auto", "default"],
}


class _Body(BaseModel):
    """An object whose unknown members are refused by name; a member that is null is as good as absent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data


class TextPart(_Body):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class Message(_Body):
    """A turn of the conversation."""

    role: Literal["user", "assistant"] = Field(description="who said it; this bot follows no instructions (system)")
    content: str | list[TextPart] = Field(description="what was said")

    @property
    def text(self) -> str:
        """What was said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Body):
    """What else a stream holds."""

    include_usage: bool = Field(False, description="a last chunk with the number of words")
    include_obfuscation: bool = Field(False, description="without effect")


class ChatCompletion(_Body):
    """POST /v1/chat/completions"""

    model: str = Field(description="the id that GET /v1/models has")
    messages: list[Message] = Field(min_length=1, description="the conversation, what is to be answered last")
    stream: bool = Field(False, description="whether the words come by server-sent events as they are found")
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=32, description="how many replies; above 1 by sampling or a beam")
    temperature: float | None = Field(
        None, ge=0, le=2, description="above 0 words are drawn, 0 is greedy search; absent, the bot's own decoding"
    )
    top_p: float | None = Field(None, ge=0, le=1, description="draw from the likeliest words with this share together")
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="the same seed draws the same reply again")
    max_tokens: int | None = Field(None, ge=1, description="longest reply in words")
    max_completion_tokens: int | None = Field(None, ge=1, description="the same")
    stop: str | list[str] = Field([], description="up to 4 texts before which a reply ends")
    user: str | None = Field(None, description="without effect, and not kept")

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_nothing(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value not in ASKS_NOTHING.get(name, [])}
        return data

    @property
    def stops(self) -> list[str]:
        """The texts before which a reply ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop


class Asked(_Body):
    """POST /reply"""

    text: str = Field(description="what is to be answered")
    history: list[str] = Field([], description="the turns before it, the bot's own among them, the newest last")
    decoding: dict[str, Any] = Field(
        {},
        description="how the reply is found, where not by the bot's own way: the settings of `chatbot chat`, "
        'such as {"method": "sample", "temperature": 0.8, "seed": 3}',
    )
    stream: bool = Field(False, description="whether the words come by server-sent events as they are found")
    attention: bool = Field(False, description="whether to tell which words the reply looked at")


Body = TypeVar("Body", bound=_Body)


def parsed(kind: type[Body], body: bytes) -> Body:
    """A request's body as `kind`.

    Raises:
        RefusalError: it is no JSON, or not of that kind; the message names the member that is wrong, and quotes none.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refused(kind, error.errors(include_url=False, include_input=False)[0]) from None


def _refused(kind: type[_Body], error: ErrorDetails) -> RefusalError:
    # of a member that may be one thing or another, pydantic's path names which of them it tried
    path = [part for part in error["loc"] if isinstance(part, int) or part.isidentifier()]
    while path and path[-1] == "str":
        path.pop()
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")[:100]
    if error["type"] == "json_invalid":
        return RefusalError(400, "the body is no JSON (in UTF-8)")
    if error["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields)
        why = "asks for what this bot cannot do" if param in ASKS_NOTHING else f"is unknown; there are {known}"
        return RefusalError(
            400, f"the parameter {param} {why}: leave it out", param=param, code="unsupported_parameter"
        )
    if error["type"] == "literal_error" and param.endswith(".role"):
        says = "this bot follows no instructions and calls no tools: a role is user or assistant"
        return RefusalError(400, f"{param}: {says}", param=param, code="unsupported_value")
    return RefusalError(400, f"{param or 'the body'}: {error['msg']}", param=param or None, code="invalid_value")
