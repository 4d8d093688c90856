"""The page of `chatbot export --web` in Chromium: until it is ready, its first reply, and those that follow.

    python bench/page.py [RUN] [--prompts 24] [--rounds 5] [--json FILE]

It needs Chromium, playwright (both as for the tests) and onnxruntime-web in tests/web/node_modules (`make check` has
npm fetch it). Each round opens the page anew in the same browser: the first round loads it from the server, the others
find it in the browser's cache. The prompts are the first of bench/everyday.
"""

import argparse
import functools
import http.server
import re
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import results
from playwright import sync_api as playwright

from chatbot.deployment.web import WEB, export_web
from chatbot.deployment.web_runtime import Runtime
from chatbot.runs.directory import RunDirectory

PROMPTS = results.ROOT / "bench" / "everyday" / "prompts.txt"
DIST = results.ROOT / "tests" / "web" / "node_modules" / "onnxruntime-web" / "dist"
PATIENCE = 120_000  # milliseconds
ASK = """
async ([prompts, methods]) => {
    const { createEngine } = await import("./engine.js");
    const engine = createEngine();
    await engine.info();
    const signal = new AbortController().signal;
    const times = Object.fromEntries(methods.map((method) => [method, []]));
    for (const warm of [false, true])
        for (const prompt of prompts)
            for (const method of methods) {
                const began = performance.now();
                for await (const piece of engine.stream(prompt, [], { method }, signal));
                if (warm) times[method].push(performance.now() - began);
            }
    return times;
}
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """A static host that says nothing."""

    def log_message(self, *told: Any) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="measure the page without a server")
    parser.add_argument("run", nargs="?", type=Path, default=results.ROOT / "checkpoints" / "pretrained")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None or not DIST.is_dir():
        raise SystemExit("Chromium or onnxruntime-web is not installed: nothing is measured")
    prompts = PROMPTS.read_text("utf-8").splitlines()[: arguments.prompts]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        export_web(RunDirectory(arguments.run).load_chosen(), Path(folder), arguments.run.name, Runtime(DIST, "copied"))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        handler = functools.partial(Handler, directory=str(Path(folder) / WEB))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            rounds = opened(browser, f"http://127.0.0.1:{server.server_port}/", prompts, arguments.rounds)
            server.shutdown()
    found: dict[str, float] = {"megabytes": size / 1e6}
    for name in ("ready_seconds", "first_reply_seconds", "greedy_milliseconds", "own_milliseconds"):
        found[name] = statistics.median(one[name] for one in rounds)
    for name, value in found.items():
        print(f"{name.replace('_', ' '):24}{value:10.3f}")
    results.write(arguments.json, "page", run=arguments.run.name, prompts=len(prompts), **found, rounds=rounds)


def opened(browser: str, url: str, prompts: list[str], rounds: int) -> list[dict[str, float]]:
    """The figures of each round."""
    found = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = chromium.new_context()
        for _ in range(rounds):
            tab = context.new_page()
            began = time.perf_counter()
            tab.goto(url)
            playwright.expect(tab.locator("#state")).to_have_text(re.compile("^ready$"), timeout=PATIENCE)
            ready = time.perf_counter() - began
            tab.fill("#text", prompts[0])
            began = time.perf_counter()
            tab.keyboard.press("Enter")
            playwright.expect(tab.locator("li.bot .notes")).to_have_count(1, timeout=PATIENCE)
            first = time.perf_counter() - began
            times = tab.evaluate(ASK, [prompts, ["greedy", "default"]])
            found.append(
                {
                    "ready_seconds": ready,
                    "first_reply_seconds": first,
                    "greedy_milliseconds": statistics.median(times["greedy"]),
                    "own_milliseconds": statistics.median(times["default"]),
                }
            )
            tab.close()
        chromium.close()
    return found


if __name__ == "__main__":
    main()
