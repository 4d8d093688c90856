"""What a client is told when it is not answered: JSON in the shape that OpenAI's clients read."""

from starlette.responses import JSONResponse


class RefusalError(Exception):
    """A request that is not answered.

    status: of HTTP. message: a sentence for people, which quotes nothing of the request but names of parameters.
    kind, code: OpenAI's `type` and `code`. param: the parameter that is wrong. retry: seconds after which to ask again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.retry = status, kind, param, code, retry

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error as OpenAI's API has it."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The same as a response."""
        headers = {} if self.retry is None else {"retry-after": str(self.retry)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def busy(message: str) -> RefusalError:
    """Too much is asked at once; a second later there may be room."""
    return RefusalError(503, message, kind="server_error", code="overloaded", retry=1)


def broken() -> RefusalError:
    """A defect of the program: the log has it, the client has not."""
    return RefusalError(500, "the server failed to answer this; its log says why", kind="server_error", code="internal")
