"""What stands before every door: who may come in, what every answer says to a browser, and what is counted."""

import hashlib
import hmac
import ipaddress
import logging
import os
import time
from collections import Counter
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..system.errors import ChatbotError
from .limits import Limits
from .metrics import Metrics
from .refusal import RefusalError, broken

log = logging.getLogger(__name__)

KEYED = ("/v1/", "/reply", "/info", "/metrics")  # what wants the key: all but the page's files and the two probes
HEADERS = {
    # the page is made of its own files; nothing of another host, nothing inline, nothing that frames it
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """An ASGI middleware.

    Args:
        key: what clients must show as `Authorization: Bearer KEY`; None lets everybody in.
        hosts: names by which the server may be called; None is any. A server that listens on this machine only is
            called by its own names, or else a page of another host has had its name lead here (DNS rebinding).
        routes: the paths that are counted by name.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        key: str | None,
        hosts: Collection[str] | None,
        routes: Collection[str],
    ) -> None:
        self.app, self.limits, self.metrics, self.hosts, self.routes = app, limits, metrics, hosts, routes
        self.digest = None if key is None else _digest(key.encode())
        self.at_work: Counter[str] = Counter()  # requests of each address that is not this machine's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # nginx's word for a client that left before the answer

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        address = _address(scope)
        try:
            refusal = self._refusal(scope, address)
            if refusal is not None:
                await refusal.response()(scope, receive, send_guarded)
                return
            self.at_work[address] += 1
            try:
                await self.app(scope, receive, send_guarded)
            finally:
                self.at_work[address] -= 1
                if not self.at_work[address]:
                    del self.at_work[address]
        except Exception:
            log.exception("a request to %s failed", scope["path"] if scope["path"] in self.routes else "elsewhere")
            if status == 499:
                await broken().response()(scope, receive, send_guarded)
        finally:
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _refusal(self, scope: Scope, address: str) -> RefusalError | None:
        headers = Headers(scope=scope)
        if self.hosts is not None and _name(headers.get("host", "")) not in self.hosts:
            return RefusalError(400, "this server listens on its own machine only, and is not known by that name")
        if self.digest is not None and scope["path"].startswith(KEYED):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip().encode()), self.digest):
                says = "the header Authorization: Bearer KEY is missing, or has another key"
                return RefusalError(401, says, kind="authentication_error", code="invalid_api_key")
        if address and self.at_work[address] >= self.limits.each:
            says = f"{self.limits.each} requests of yours are at work: wait for one of them"
            return RefusalError(429, says, kind="rate_limit_error", code="rate_limit_exceeded", retry=1)
        return None


def key_in(variable: str) -> str:
    """The key that clients must show, from an environment variable.

    Raises:
        ChatbotError: it is not set, or no header can carry it.
    """
    key = os.environ.get(variable)
    if not key:
        raise ChatbotError(f"--api-key takes the key from the environment, where {variable} is not set")
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ChatbotError(f"the key in {variable} must be of ASCII's visible characters: a header carries no others")
    return key


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()  # of one length, so that comparing tells nothing of the key's


def _name(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0].lower()


def _address(scope: Scope) -> str:
    """Where a request comes from; "" where that is this machine."""
    address = scope["client"][0] if scope.get("client") else ""
    try:
        return "" if is_loopback(address) else address
    except ValueError:  # a socket of this machine
        return ""


def is_loopback(address: str) -> bool:
    """Whether an IP address leads to this machine only.

    Raises:
        ValueError: it is no IP address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    # a socket for IPv6 gives those of IPv4 as ::ffff:127.0.0.1, which Python's own answer leaves out before 3.13
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
