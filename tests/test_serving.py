"""The server as its clients meet it: over real sockets, with OpenAI's own client and another."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import httpx
import openai
import openapi_spec_validator
import pytest
from huggingface_hub import InferenceClient
from prometheus_client import generate_latest
from serving import running

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import DECODINGS
from chatbot.config.settings import DecodingConfig
from chatbot.runs.directory import RunDirectory
from chatbot.serving import batches
from chatbot.serving.limits import Limits
from chatbot.serving.metrics import Metrics

LIMITS = Limits(body=100_000, messages=8, characters=5000, patience=600.0, timeout=600.0)
PROMPTS = ["hello", "how are you?", "tell me a joke", "what is your name?", "qxzvw", "good night"]


@pytest.fixture(scope="module")
def bot(trained: RunDirectory) -> Chatbot:
    return Chatbot.load(trained.path)


@pytest.fixture(scope="module")
def url(bot: Chatbot) -> Iterator[str]:
    with running(bot, LIMITS) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=600) as client:
        yield client


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def refusal(response: httpx.Response, status: int) -> dict[str, str | None]:
    """The error of a response, whose shape and status are as they should be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in error["message"]
    assert "/" not in error["message"].replace("application/json", "")
    return error


def figure(figures: str, name: str) -> float:
    return float(next(line for line in figures.splitlines() if line.startswith(f"chatbot_{name}")).split()[1])


def all_of(one: socket.socket) -> bytes:
    """What a socket says until the server closes it."""
    found = b""
    while part := one.recv(1 << 16):
        found += part
    return found


def test_openais_client_gets_what_the_bot_says(client: openai.OpenAI, bot: Chatbot) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    done = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
    assert done.choices[0].message.content == bot.reply("hello")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.prompt_tokens == 1
    # what it said goes back as it came, as programs do it
    again = [{"role": "user", "content": "hello"}, done.choices[0].message, {"role": "user", "content": "and you?"}]
    done = client.chat.completions.create(model="tiny", messages=again)  # type: ignore[arg-type]
    assert done.choices[0].message.content == bot.reply("and you?", ["hello", bot.reply("hello")])


def test_openais_client_streams(client: openai.OpenAI, bot: Chatbot) -> None:
    for decoding in ({}, {"temperature": 0}, {"temperature": 0.9, "seed": 5}):
        chunks = list(
            client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": "how are you?"}],
                stream=True,
                stream_options={"include_usage": True},
                **decoding,  # type: ignore[arg-type]
            )
        )
        how = DecodingConfig(method="sample", temperature=0.9, seed=5) if "seed" in decoding else DecodingConfig()
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(said) == bot.reply("how are you?", decoding=how)
        assert len([piece for piece in said if piece]) > 1
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 1


def test_another_client_talks_and_streams(url: str, bot: Chatbot) -> None:
    other = InferenceClient(base_url=f"{url}/v1", api_key="none")
    turns = [{"role": "user", "content": "good night"}]
    assert other.chat_completion(turns, model="tiny").choices[0].message.content == bot.reply("good night")
    chunks = other.chat_completion(turns, model="tiny", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == bot.reply("good night")


def test_parameters_do_what_they_say(client: openai.OpenAI, bot: Chatbot) -> None:
    def create(**more: object) -> list[str]:
        messages = [{"role": "user", "content": "tell me a joke"}]
        done = client.chat.completions.create(model="tiny", messages=messages, **more)  # type: ignore[call-overload]
        return [choice.message.content for choice in done.choices]

    sampling = DecodingConfig(method="sample", temperature=0.8, top_p=0.9, seed=7)
    assert create(temperature=0.8, top_p=0.9, seed=7) == [bot.reply("tell me a joke", decoding=sampling)]
    assert create(temperature=0) == [bot.reply("tell me a joke", decoding=DECODINGS["greedy"])]
    assert len(create(n=3, temperature=1.5, seed=1)) == 3
    assert create(n=3, temperature=1.5, seed=1) == create(n=3, temperature=1.5, seed=1)
    assert len({create(temperature=2.0)[0] for _ in range(10)}) > 1, "without a seed each is another draw"
    whole = create(temperature=0)[0]
    assert len(create(temperature=0, max_tokens=2)[0].split()) <= 2
    stop = whole[2:5]
    assert create(temperature=0, stop=stop) == [whole[: whole.index(stop)]]


def test_a_stop_is_never_streamed_in_part(http: httpx.Client, bot: Chatbot) -> None:
    text = max(PROMPTS, key=lambda text: len(bot.reply(text)))
    whole = bot.reply(text)
    stop = whole[2:6]
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": True, "stop": [stop, "qqq"]}
    found = events(http.post("/v1/chat/completions", json=body).text)
    assert found[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in found[:-1]]
    assert "".join(deltas) == whole[: whole.index(stop)]


def test_what_a_small_bot_cannot_do_is_refused_by_name(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "hello"}]
    for more, param in (
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
        ({"temperature": 3}, "temperature"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"messages": [{"role": "system", "content": "Be kind."}, *messages]}, "messages[0].role"),
        ({"messages": [*messages, {"role": "assistant", "content": "Hi."}]}, "messages"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{"model": "tiny", "messages": messages, **more})  # type: ignore[arg-type]
        assert caught.value.param == param
        assert param.split("[")[0].removesuffix("s") in caught.value.message
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=messages)  # type: ignore[arg-type]
    assert missing.value.code == "model_not_found"
    # asking for nothing of it is no reason to refuse
    done = client.chat.completions.create(
        model="tiny", messages=messages, logprobs=False, presence_penalty=0, tools=[], user="somebody", n=1
    )  # type: ignore[call-overload]
    assert done.choices


def test_reply_in_one_line(http: httpx.Client, bot: Chatbot) -> None:
    done = http.post("/reply", json={"text": "qxzvw hello", "history": ["hi", "Hello."], "attention": True}).json()
    assert done["reply"] == bot.reply("qxzvw hello", ["hi", "Hello."])
    assert done["unknown"] == ["qxzvw"]
    read, said, weights = bot.attend(bot.prompt_ids("qxzvw hello"))
    assert done["attention"]["read"] == ["qxzvw", "hello"]
    assert read == ["<unk>", "hello"]
    assert done["attention"]["said"] == said
    assert [len(row) for row in done["attention"]["weights"]] == [2] * len(said)
    assert done["attention"]["weights"][0] == pytest.approx(weights[0].tolist(), abs=1e-4)


def test_reply_streams_word_by_word(http: httpx.Client, bot: Chatbot) -> None:
    found = [json.loads(event) for event in events(http.post("/reply", json={"text": "hello", "stream": True}).text)]
    assert [event["piece"] for event in found[:-1]] == list(bot.stream("hello"))
    assert found[-1] == {"reply": bot.reply("hello"), "unknown": []}


def test_decodings_that_reply_takes(http: httpx.Client, bot: Chatbot) -> None:
    for values in (
        {"method": "beam", "beam_width": 4},
        {"method": "sample", "temperature": 1.5, "seed": 9, "samples": 2},
    ):
        done = http.post("/reply", json={"text": "hello", "decoding": values}).json()
        assert done["reply"] == bot.reply("hello", decoding=DecodingConfig(**values))  # type: ignore[arg-type]
    for wrong in (
        {"method": "best"},
        {"temperature": 0.5},
        {"beam_width": 5},
        {"method": "beam", "beam_width": 900},
        {"x": 1},
    ):
        refusal(http.post("/reply", json={"text": "hello", "decoding": wrong}), 400)
    falls = {"method": "beam", "min_confidence": 1.0, "fallback": ["How are you?"]}
    assert http.post("/reply", json={"text": "hello", "decoding": falls}).json()["reply"] == "How are you?"
    for texts in (["I know xyzzy."], ["How are you?"] * 33, [""], [], "How are you?"):
        refusal(http.post("/reply", json={"text": "hello", "decoding": falls | {"fallback": texts}}), 400)


@pytest.mark.parametrize(
    "text", ["", "   ", "\x00\x1b[2J", "\U0001f600", "<script>alert(1)</script>", "?!", "\u202e\u200b"]
)
def test_any_text_has_an_answer(http: httpx.Client, bot: Chatbot, text: str) -> None:
    assert http.post("/reply", json={"text": text}).json()["reply"] == bot.reply(text)
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}]}
    done = http.post("/v1/chat/completions", json=body).json()
    assert done["choices"][0]["message"]["content"] == bot.reply(text)
    found = events(http.post("/v1/chat/completions", json={**body, "stream": True}).text)
    assert found[-1] == "[DONE]"


def test_bad_bodies_are_refused(http: httpx.Client) -> None:
    for content in (b"", b"{", b"\xff\xfe", b'"text"', b"[]", b"[" * 90_000, b'{"text": "\\ud800"}', b'{"text": 1}'):
        refusal(http.post("/reply", content=content, headers={"content-type": "application/json"}), 400)
    refusal(http.post("/reply", data={"text": "hello"}), 415)
    refusal(http.post("/reply", content=b'{"text": "hello"}', headers={"content-type": "text/plain"}), 415)
    refusal(http.post("/reply", json={"text": "x" * 5001}), 400)
    refusal(http.post("/reply", json={"text": "x", "history": ["x"] * 9}), 400)
    refusal(http.post("/reply", json={"text": "x" * 1_000_000}), 413)
    refusal(http.get("/reply"), 405)
    refusal(http.get("/nothing"), 404)
    refusal(http.get("/../../etc/passwd"), 404)
    refusal(http.get("/v1/models/../x"), 404)
    assert http.post("/reply", json={"text": "hello"}).status_code == 200


def test_probes_figures_and_the_description(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    http.post("/reply", json={"text": "hello"})
    figures = http.get("/metrics").text
    assert 'chatbot_requests_total{route="/reply",status="200"}' in figures
    assert "chatbot_batch_questions_bucket" in figures
    info = http.get("/info").json()
    assert info["name"] == "tiny"
    assert info["decoding"]["method"] == "greedy"
    description = http.get("/openapi.json").json()
    openapi_spec_validator.validate(description)
    for path, methods in description["paths"].items():
        for method in methods:
            assert http.request(method, path.replace("{id}", "tiny")).status_code in (200, 400, 415), path


def test_many_at_once_are_answered_as_one_alone(url: str, bot: Chatbot) -> None:
    wanted = {text: bot.reply(text) for text in PROMPTS}
    wrong: list[object] = []

    def talk(number: int) -> None:
        with httpx.Client(base_url=url, timeout=600) as client:
            for turn in range(5):
                text = PROMPTS[(number + turn) % len(PROMPTS)]
                how = {"decoding": {"method": "sample", "seed": number}} if turn == 3 else {}
                done = client.post("/reply", json={"text": text, **how}).json()
                right = wanted[text]
                if how:
                    right = bot.reply(text, decoding=DecodingConfig(method="sample", seed=number))
                if done.get("reply") != right:
                    wrong.append((text, done))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    figures = httpx.get(f"{url}/metrics").text
    assert figure(figures, "batch_questions_sum") > figure(figures, "batch_questions_count"), "none were together"


def test_those_who_ask_again_at_once_are_answered_together(bot: Chatbot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAUSE", 600.0)  # so that no chance of the machine's ends the wait
    monkeypatch.setattr(batches, "SHARE", 1e9)
    metrics = Metrics()
    question = batches.Question(bot.prompt_ids("hello"), bot.decoding, 5)

    async def talk() -> None:
        answering = batches.Batches(bot, metrics, waiting=9, batch=64)
        first = [answering.ask(question) for _ in range(4)]
        answering.open()

        async def client(job: batches.Job) -> None:
            await answering.answer(job)
            for _ in range(4):
                await answering.answer(answering.ask(question))

        await asyncio.gather(*map(client, first))
        await answering.close()  # which does not wait for those who went home

    asyncio.run(asyncio.wait_for(talk(), 300))
    figures = generate_latest(metrics.registry).decode()
    assert (figure(figures, "batch_questions_sum"), figure(figures, "batch_questions_count")) == (20, 5)


def test_who_sends_half_a_request_is_sent_away_and_holds_up_nobody(bot: Chatbot) -> None:
    with running(bot, Limits(patience=1.0)) as url:
        half_requests(url)


def half_requests(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    half = [
        b"",
        b"POST /reply HTT",
        b"POST /reply HTTP/1.1\r\nhost: localhost\r\nx: ",
        b"POST /reply HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{",
    ]
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=600)) for _ in range(10 * len(half))
        ]
        for number, one in enumerate(sockets):
            one.sendall(half[number % len(half)])
        assert httpx.get(f"{url}/healthz", timeout=600).status_code == 200
        said = [all_of(one) for one in sockets]
    assert said[0] == said[1] == said[2] == b""
    assert said[3].startswith(b"HTTP/1.1 408 ")


def test_the_rest_of_a_refused_body_is_no_head(bot: Chatbot) -> None:
    """Who is refused before the body has come may send it on, and then ask again on the same connection."""
    size = 4 * Limits().head
    head = (
        f"POST /reply HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    with running(bot, key="open sesame") as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as one:
            one.sendall(head.encode())
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 401")
            one.sendall(b" " * size + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            told = b"".join(iter(lambda: one.recv(1 << 16), b""))
        assert b"431" not in told
        assert told.endswith(b'{"status":"ok"}')
    with running(bot, Limits(patience=0.2), key="open sesame") as address:  # but not for ever
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as one:
            one.sendall(head.encode())
            assert b"".join(iter(lambda: one.recv(1 << 16), b"")).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n", b"400"),
        (b"POST /reply HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: " + b"y" * 50_000, b"431"),
        (b"GET / HTTP/1.1\r\nhost: somewhere.example\r\nconnection: close\r\n\r\n", b"400"),
    ],
)
def test_malformed_http_is_refused_in_json(url: str, sent: bytes, status: bytes) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=600) as one:
        one.sendall(sent)
        head, _, body = all_of(one).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert json.loads(body)["error"]["message"]
