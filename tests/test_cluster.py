"""The Ray Serve deployment: two replicas on this machine, of which one is killed while people talk."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from chatbot.chat.bot import Chatbot
from chatbot.runs.directory import RunDirectory

RAY = Path(sys.executable).parent / "serve"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RAY.exists(), reason="Ray Serve is not installed (pip install -e '.[cluster]')"),
]
CLIENTS, ASKED = 8, 50


@pytest.fixture(scope="module")
def url(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of two replicas, on a Ray of their own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    application = {
        "name": "chatbot",
        "route_prefix": "/",
        "import_path": "chatbot.serving.cluster:app",
        "args": {"run": str(trained.path), "replicas": 2, "most_replicas": 2},
    }
    config = tmp_path_factory.mktemp("cluster") / "cluster.yaml"  # JSON is YAML
    config.write_text(json.dumps({"http_options": {"port": port}, "applications": [application]}))
    own = {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}  # no Ray that runs here, or that was killed once
    environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [str(RAY), "run", str(config)]
    address, said = f"http://127.0.0.1:{port}", config.with_name("said.txt")
    with said.open("w") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        try:
            for _ in range(1000):  # minutes, if Ray never comes so far
                if is_ready(address) and len(replicas()) == 2:
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                    break
            else:
                pytest.fail(said.read_text()[-5000:])
            assert process.poll() is None, said.read_text()[-5000:]
            yield address
            process.send_signal(signal.SIGINT)
            process.wait(120)  # which takes its processes with it
        finally:
            process.terminate()


def is_ready(address: str) -> bool:
    """Whether the application takes questions."""
    try:
        return httpx.get(f"{address}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def replicas() -> list[int]:
    """The process ids of the replicas."""
    told = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in told.splitlines() if " ray::ServeReplica:chatbot:" in line]


def test_a_replica_that_is_killed_costs_its_own_requests_at_most(url: str, trained: RunDirectory) -> None:
    wanted = Chatbot.load(trained.path).reply("how are you?")
    first = replicas()
    assert len(first) == 2

    def talk(client: int) -> list[int]:
        found = list[int]()
        with httpx.Client(base_url=url, timeout=300) as http:
            for number in range(ASKED):
                if client == 0 and number == ASKED // 3:
                    os.kill(first[0], signal.SIGKILL)
                answer = http.post("/reply", json={"text": "how are you?"})
                found.append(answer.status_code)
                if answer.status_code == 200:
                    assert answer.json()["reply"] == wanted
        return found

    with ThreadPoolExecutor(CLIENTS) as people:
        found = [status for statuses in people.map(talk, range(CLIENTS)) for status in statuses]
    lost = [status for status in found if status != 200]
    assert len(lost) <= CLIENTS, "more failed than can have been at work in it"
    assert set(lost) <= {500}
    assert found[-1] == 200
    for _ in range(20_000):  # Ray starts another: minutes at the most
        if first[0] not in (now := replicas()) and len(now) == 2:
            break
        assert httpx.get(f"{url}/healthz", timeout=300).status_code == 200
    else:
        pytest.fail("Ray has started no other replica")


def test_the_page_and_openais_api_are_there_too(url: str) -> None:
    with httpx.Client(base_url=url, timeout=300) as http:
        assert "text/html" in http.get("/").headers["content-type"]
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=asked) as answer:
            assert list(answer.iter_lines())[-2] == "data: [DONE]"
