"""What stands before the server's doors: keys, names, addresses, headers, the queue and the clock; and the command."""

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import running

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig
from chatbot.decoding.generate import Decoding, Hypothesis
from chatbot.runs.directory import RunDirectory
from chatbot.serving.application import create_application
from chatbot.serving.limits import Limits


@pytest.fixture(scope="module")
def bot(trained: RunDirectory) -> Chatbot:
    return Chatbot.load(trained.path)


class Held(Decoding):
    """A bot's decoding that waits to be let go before it answers, and says that it has begun."""

    def __init__(self, real: Decoding) -> None:
        self.__dict__.update(real.__dict__)
        self.begun, self.go, self.sizes = threading.Semaphore(0), threading.Event(), list[int]()

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        settings: DecodingConfig,
        max_length: int,
        rows_at_once: int = 0,
        count: int = 0,
    ) -> list[list[Hypothesis]]:
        self.sizes.append(len(prompts))
        self.begun.release()
        assert self.go.wait(60)
        return super().__call__(prompts, settings, max_length, rows_at_once, count)


@pytest.fixture
def held(bot: Chatbot) -> Iterator[Chatbot]:
    decode = Held(bot.decode)
    yield dataclasses.replace(bot, decode=decode, decoding=DecodingConfig(method="beam", beam_width=2))
    decode.go.set()


@contextlib.asynccontextmanager
async def client(bot: Chatbot, address: str = "127.0.0.1", **how: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application itself, which comes from `address`."""
    application = create_application(bot, "tiny", **how)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False, client=(address, 1))
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as made,
    ):
        yield made


def test_a_key_opens_every_door_that_says_something(bot: Chatbot) -> None:
    async def talk() -> None:
        async with client(bot, key="open sesame") as http:
            for path in ("/reply", "/v1/chat/completions", "/v1/models", "/v1/models/tiny", "/info", "/metrics"):
                method = "POST" if path in ("/reply", "/v1/chat/completions") else "GET"
                for headers in ({}, {"authorization": "Bearer open"}, {"authorization": "open sesame"}):
                    refused = await http.request(method, path, headers=headers, json={"text": "hello"})
                    assert refused.status_code == 401, path
                    assert refused.json()["error"]["code"] == "invalid_api_key"
                    assert refused.headers["www-authenticate"] == "Bearer"
                headers = {"authorization": "Bearer open sesame"}
                assert (await http.request(method, path, headers=headers, json={"text": "hello"})).status_code != 401
            for path in ("/", "/style.css", "/docs", "/openapi.json", "/healthz", "/readyz"):
                assert (await http.get(path)).status_code == 200

    asyncio.run(talk())


def test_every_answer_has_the_headers_that_browsers_heed(bot: Chatbot) -> None:
    async def talk() -> None:
        async with client(bot) as http:
            for path in ("/", "/engine.js", "/info", "/nothing"):
                answer = await http.get(path)
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "http" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert "access-control-allow-origin" not in answer.headers
                assert "server" not in answer.headers
            asked = {"origin": "https://else.example", "access-control-request-method": "POST"}
            assert "access-control-allow-origin" not in (await http.options("/reply", headers=asked)).headers
        async with client(bot, origins=["https://mine.example"]) as http:
            for origin, allowed in (("https://mine.example", "https://mine.example"), ("https://else.example", None)):
                headers = {"origin": origin, "access-control-request-method": "POST"}
                assert (await http.options("/reply", headers=headers)).headers.get(
                    "access-control-allow-origin"
                ) == allowed
            answer = await http.post("/reply", json={"text": 1}, headers={"origin": "https://mine.example"})
            assert answer.status_code == 400
            assert answer.headers["access-control-allow-origin"] == "https://mine.example"

    asyncio.run(talk())


def test_a_local_server_answers_to_its_own_names_only(bot: Chatbot) -> None:
    async def talk() -> None:
        async with client(bot, hosts={"localhost", "127.0.0.1", "::1"}) as http:
            for host, status in (
                ("localhost:8000", 200),
                ("127.0.0.1", 200),
                ("[::1]:80", 200),
                ("LOCALHOST", 200),
                ("evil.example", 400),
                ("localhost.evil.example", 400),
                ("", 400),
            ):
                assert (await http.get("/healthz", headers={"host": host})).status_code == status, host

    asyncio.run(talk())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_has_no_bound(held: Chatbot, address: str) -> None:
    async def talk() -> None:
        async with client(held, address, limits=Limits(each=1)) as http:
            asked = [asyncio.create_task(http.post("/reply", json={"text": "hello"}))]
            await asyncio.to_thread(held.decode.begun.acquire)
            asked += [asyncio.create_task(http.post("/reply", json={"text": "hello"})) for _ in range(2)]
            while "chatbot_waiting 2.0" not in (await http.get("/metrics")).text:
                await asyncio.sleep(0)
            held.decode.go.set()
            assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}

    asyncio.run(talk())


def test_a_key_that_no_header_carries_is_refused(
    trained: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("sésame", " open", "open\n", "öffne dich"):
        monkeypatch.setenv("CHATBOT_API_KEY", key)
        assert main(["serve", str(trained.path), "--port", "0", "--api-key"]) == 2
        assert "must be of ASCII's visible characters" in capsys.readouterr().err


def test_a_long_text_is_read_while_others_are_answered(bot: Chatbot) -> None:
    """Words that are mended take their time, and take it from nobody else."""
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def read(self, words: Sequence[str]) -> list[str]:
            begun.set()
            assert go.wait(60)
            return list(words)

    async def talk() -> None:
        async with client(dataclasses.replace(bot, spellings=Slow())) as http:  # type: ignore[arg-type]
            slow = asyncio.create_task(http.post("/reply", json={"text": "helo wrld", "attention": True}))
            assert await asyncio.to_thread(begun.wait, 60)
            assert (await http.get("/healthz")).status_code == 200
            assert not slow.done()
            go.set()
            assert (await slow).json()["attention"]["read"] == ["helo", "wrld"]

    asyncio.run(talk())


def test_one_address_has_so_many_requests_and_leaves_the_others_alone(held: Chatbot) -> None:
    async def talk() -> None:
        decode = held.decode
        async with client(held, "203.0.113.5", limits=Limits(each=2)) as http:
            first = [asyncio.create_task(http.post("/reply", json={"text": "hello"})) for _ in range(2)]
            await asyncio.to_thread(decode.begun.acquire)
            while http._transport.app.middleware_stack.app.at_work["203.0.113.5"] < 2:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            refused = await http.post("/reply", json={"text": "hello"})
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            http._transport.client = ("203.0.113.6", 1)  # type: ignore[attr-defined]
            other = asyncio.create_task(http.post("/reply", json={"text": "hello"}))
            decode.go.set()
            assert [answer.status_code for answer in await asyncio.gather(*first, other)] == [200, 200, 200]
            http._transport.client = ("203.0.113.5", 1)  # type: ignore[attr-defined]
            assert (await http.post("/reply", json={"text": "hello"})).status_code == 200

    asyncio.run(talk())


def test_a_full_queue_says_so_and_what_waits_is_answered_together(held: Chatbot) -> None:
    async def talk() -> None:
        async with client(held, limits=Limits(waiting=5)) as http:
            first = asyncio.create_task(http.post("/reply", json={"text": "hello"}))
            await asyncio.to_thread(held.decode.begun.acquire)  # it is at work, and waits no more
            waiting = [asyncio.create_task(http.post("/reply", json={"text": f"hello {n}"})) for n in range(5)]
            while "chatbot_waiting 5.0" not in (await http.get("/metrics")).text:
                await asyncio.sleep(0)
            for stream in (False, True):
                refused = await http.post("/reply", json={"text": "hello", "stream": stream})
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
                assert refused.json()["error"]["code"] == "overloaded"
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200
            held.decode.go.set()
            assert {answer.status_code for answer in await asyncio.gather(first, *waiting)} == {200}
            assert held.decode.sizes == [1, 5]
            assert (await http.get("/readyz")).status_code == 200

    asyncio.run(talk())


def test_a_reply_that_takes_too_long_is_given_up(held: Chatbot) -> None:
    async def talk() -> None:
        async with client(held, limits=Limits(timeout=0.05)) as http:
            refused = await http.post("/reply", json={"text": "hello"})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "timeout"
            streamed = await http.post("/reply", json={"text": "hello", "stream": True})
            assert '"code": "timeout"' in streamed.text
            held.decode.go.set()

    asyncio.run(talk())


def test_who_leaves_frees_his_place(held: Chatbot) -> None:
    with running(held, Limits(waiting=2)) as url, httpx.Client(base_url=url, timeout=60) as http:
        host, port = url.removeprefix("http://").split(":")
        body = b'{"text": "hello"}'
        head = (
            f"POST /reply HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )

        def waiting() -> float:
            return float(re.findall(r"^chatbot_waiting (.*)", http.get("/metrics").text, flags=re.MULTILINE)[0])

        with contextlib.ExitStack() as stack:
            for number in range(3):
                one = stack.enter_context(socket.create_connection((host, int(port))))
                one.sendall(head.encode() + b"\r\n\r\n" + body)
                if number == 0:
                    assert held.decode.begun.acquire(timeout=60)
            while waiting() < 2:
                pass
            assert http.post("/reply", json={"text": "hello"}).status_code == 503
        while waiting() > 0:
            pass
        held.decode.go.set()
        assert http.post("/reply", json={"text": "hello"}).status_code == 200
        assert held.decode.sizes == [1, 1], "who left was not answered"


def test_a_defect_ends_one_request_and_tells_nothing(bot: Chatbot, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Held):
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise ValueError("secret /etc/passwd")

    broken = dataclasses.replace(bot, decode=Broken(bot.decode))

    async def talk() -> None:
        async with client(broken) as http:
            beam = {"method": "beam"}
            for _ in range(2):
                failed = await http.post("/reply", json={"text": "my own words", "decoding": beam})
                assert failed.status_code == 500
                assert "passwd" not in failed.text
            assert (await http.post("/reply", json={"text": "hello"})).status_code == 200

    asyncio.run(talk())
    assert "ValueError" in caplog.text
    assert "my own words" not in caplog.text


def test_a_transcript_is_written_only_where_it_is_asked_for(bot: Chatbot, tmp_path: Path) -> None:
    said = "hello\n\x1b[2Jthere"

    async def talk() -> None:
        with (tmp_path / "log").open("w") as log:
            async with client(bot, log=log) as http:
                await http.post("/reply", json={"text": said})

    asyncio.run(talk())
    assert (tmp_path / "log").read_text() == f"> hello \\x1b[2Jthere\n{bot.reply(said)}\n"


def test_the_command_serves_until_ctrl_c_and_ends_after_the_reply_under_way(trained: RunDirectory) -> None:
    command = [sys.executable, "-m", "chatbot", "serve", str(trained.path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"Serving tiny at (http://127\.0\.0\.1:\d+) \(API: /docs\)\. Ctrl-C ends it\.\n", line)
            assert found, line
            with httpx.Client(base_url=found[1], timeout=60) as http:
                assert http.post("/reply", json={"text": "hello"}).json()["reply"]
                body = {"text": "hello", "stream": True, "decoding": {"min_length": 10}}
                with http.stream("POST", "/reply", json=body) as answer:
                    process.send_signal(signal.SIGINT)
                    assert '"reply"' in answer.read().decode()
            assert process.wait(60) == 130
            assert process.stderr.read().strip() == ""
        finally:
            process.kill()


def test_mistakes_are_one_line(
    trained: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHATBOT_API_KEY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flags, says in (
            (["--port", port], f"cannot listen on 127.0.0.1, port {port}"),
            (["--host", "no such host.example"], "cannot listen on no such host.example"),
            (["--api-key"], "CHATBOT_API_KEY is not set"),
            (["--api-key", "MY_KEY"], "MY_KEY is not set"),
        ):
            assert main(["serve", str(trained.path), *flags]) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert says in line


def test_without_the_extra_it_says_what_to_install(trained: RunDirectory) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; from chatbot.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "serve", str(trained.path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("chatbot: to serve, install the extra [serve]")
    assert done.stdout == ""


def test_the_thread_that_loads_a_bot_for_the_server_has_ended(
    trained: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its OpenMP threads and those of the thread that answers are more than the cores (system/process.py)."""
    loading: list[threading.Thread] = []
    load = Chatbot.load

    def seen(*given: Any, **more: Any) -> Chatbot:
        loading.append(threading.current_thread())
        return load(*given, **more)

    monkeypatch.setattr(Chatbot, "load", seen)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # the server does not come further than that
        assert main(["serve", str(trained.path), "--port", str(taken.getsockname()[1])]) == 2
    (thread,) = loading
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
