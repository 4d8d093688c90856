"""The exported page in real browsers: the replies are Python's, also without a network, and what is wrong is said."""

import contextlib
import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig
from chatbot.decoding.generate import Decoding
from chatbot.deployment.web import WEB, export_web, load_web
from chatbot.deployment.web_runtime import BINARY, CDN, SCRIPT, Runtime
from chatbot.runs.directory import PRETRAINED, RunDirectory

playwright = pytest.importorskip("playwright.sync_api")
HERE = Path(__file__).parent
DIST = HERE / "web" / "node_modules" / "onnxruntime-web" / "dist"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
PATIENCE = 120_000  # milliseconds; a busy machine is slow
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not DIST.is_dir(), reason="npm ci in tests/web fetches onnxruntime-web (make check does it)"),
]
ANSWER = """async (cases) => {
  const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
  const engine = createEngine();
  const replies = [];
  for (const [text, history, method] of cases) {
    const pieces = engine.stream(text, history, { method }, new AbortController().signal);
    let step = await pieces.next();
    while (!step.done) step = await pieces.next();
    replies.push(step.value.reply);
  }
  return { replies, check: await engine.check() };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """`python -m http.server`, without its lines on stderr."""

    def log_message(self, *_: Any) -> None:
        pass


class Away(Quiet):
    """A host that drops connections for what is large, as long as its `away` is set."""

    away = threading.Event()

    def do_GET(self) -> None:
        if self.away.is_set() and ("/runtime/" in self.path or self.path.endswith(".onnx")):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            super().do_GET()


@contextlib.contextmanager
def served(page: Path, kind: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a page that lies in a folder of a static host."""
    handler = functools.partial(kind, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{page.name}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with playwright.sync_playwright() as made:
        yield made


@contextlib.contextmanager
def opened(driver: Any, *flags: str) -> Iterator[Any]:
    """A tab of a browser that has never seen the page; what it logs as errors must be none that nobody caught."""
    # a container's root has no sandbox for it; only this repository's own pages are opened
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    try:
        tab = browser.new_page(viewport={"width": 1000, "height": 760})
        tab.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        yield tab
        assert not errors
    finally:
        browser.close()


@pytest.fixture(scope="module")
def small(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small model, with its runtime beside it."""
    folder = tmp_path_factory.mktemp("small")
    export_web(trained.load_chosen(), folder, "tiny", Runtime(DIST, "copied"))
    return folder / WEB


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the bot in the box."""
    folder = tmp_path_factory.mktemp("pretrained")
    run = RunDirectory(HERE.parent / "checkpoints" / PRETRAINED)
    export_web(run.load_chosen(), folder, PRETRAINED, Runtime(DIST, "copied"))
    return folder / WEB


def expect_state(tab: Any, pattern: str) -> None:
    playwright.expect(tab.locator("#state")).to_have_text(re.compile(pattern))


def say(tab: Any, text: str) -> str:
    """Type a sentence; the reply, when it is whole."""
    before = tab.locator("li.bot .notes").count()
    tab.fill("#text", text)
    tab.keyboard.press("Enter")
    tab.locator("li.bot .notes").nth(before).wait_for()
    return tab.locator("li.bot .bubble").nth(before).inner_text()


@pytest.mark.slow
def test_the_bot_in_the_box_answers_as_python_does_also_without_a_network(
    driver: Any, pretrained: Path, tmp_path: Path
) -> None:
    """The golden prompts, and 200 held-out ones, each alone or behind turns before: all greedily, 40 by the beam."""
    run = RunDirectory(HERE.parent / "checkpoints" / PRETRAINED)
    checkpoint, bot = run.load_chosen(), Chatbot.load(run.path)
    held_out = [bot.text(ids) for ids in checkpoint.prompts if ids]
    cases = [(text, held_out[at : at + many]) for many in range(5) for at, text in enumerate(reversed(held_out))][:200]
    assert len(cases) == 200
    file, encoder, decoder = load_web(pretrained / "model.onnx")
    ids_of = checkpoint.fallback_ids
    decode = Decoding(encoder, decoder, file.never_replied, torch.device("cpu"), bot.vocabulary.marks, ids_of)
    prompts, by_beam = [bot.prompt_ids(*case) for case in cases], slice(0, 200, 5)
    greedy = [bot.text(found[0].ids) for found in decode(prompts, DecodingConfig(), 15)]
    best = [bot.text(found[0].ids) for found in decode(prompts[by_beam], bot.decoding, 15, count=1)]
    assert sum(bot.reply(*case) == reply for case, reply in zip(cases[by_beam], best, strict=True)) >= 38  # 32 bits
    with opened(driver) as tab:
        with served(pretrained) as address:
            tab.goto(address)
            expect_state(tab, "^ready$")
            assert say(tab, "my dog died yesterday") == bot.reply("my dog died yesterday")
            tab.evaluate("navigator.serviceWorker.ready.then(() => null)")
        tab.reload()  # now nobody serves it any more
        expect_state(tab, "^ready$")
        before = ["my dog died yesterday", bot.reply("my dog died yesterday")]
        assert say(tab, "tell me a joke") == bot.reply("tell me a joke", before)
        tab.get_by_role("button", name="Attention").last.click()
        tab.screenshot(path=str(tmp_path / "page.png"))
        asked = [(*case, "greedy") for case in cases] + [(*case, "default") for case in cases[by_beam]]
        found = tab.evaluate(ANSWER, asked)
    assert found["replies"] == greedy + best
    assert found["check"] == {"prompts": len(manifest(pretrained)["golden"]), "different": []}
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert sum(file.stat().st_size for file in pretrained.rglob("*") if file.is_file()) < 25e6


def manifest(page: Path) -> Any:
    return json.loads((page / "manifest.json").read_text("utf-8"))


HARMED = r"is damaged, or of another export: "


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("model.onnx", lambda content: content[:-1000], HARMED + r"it has \d+ bytes, and \d+ are expected"),
        ("model.onnx", lambda content: content[:-1] + b"!", HARMED + "its SHA-256 is not the manifest's"),
        (f"runtime/{BINARY}", lambda content: content[::-1], HARMED + "its SHA-256 is not the manifest's"),
        (f"runtime/{SCRIPT}", lambda content: content[:-1] + b" ", HARMED + "its SHA-256 is not the manifest's"),
        ("bot.json", lambda content: content[:1000], HARMED + r"it has 1000 bytes, and \d+ are expected"),
        ("bot.json", lambda content: content.replace(b"hello", b"jello"), HARMED + "its SHA-256 is not the manifest's"),
        ("manifest.json", lambda content: b"", "is damaged"),
        ("model.onnx", None, r"did not come from 127\.0\.0\.1:\d+: it answers 404"),
    ],
)
def test_a_damaged_folder_says_which_file(
    driver: Any, small: Path, tmp_path: Path, name: str, harm: Any, message: str
) -> None:
    page = tmp_path / "page"
    shutil.copytree(small, page)
    content = (page / name).read_bytes()
    (page / name).unlink()
    if harm:
        (page / name).write_bytes(harm(content))
    with served(page) as address, opened(driver) as tab:
        tab.goto(address)
        expect_state(tab, f"^{re.escape(Path(name).name)} {message}")


def test_a_browser_without_webassembly_is_told(driver: Any, small: Path) -> None:
    with served(small) as address, opened(driver, "--js-flags=--jitless") as tab:
        tab.goto(address)
        expect_state(tab, "^This browser has no WebAssembly, or it is switched off")


def test_a_page_whose_host_was_away_while_it_loaded_becomes_ready(driver: Any, small: Path) -> None:
    Away.away.set()
    with served(small, Away) as address, opened(driver) as tab:
        tab.goto(address)
        expect_state(tab, "did not come")
        Away.away.clear()
        expect_state(tab, "^ready$")
        assert say(tab, "hello")


def test_a_reply_can_be_stopped_and_a_new_version_is_seen(
    driver: Any, small: Path, trained: RunDirectory, tmp_path: Path
) -> None:
    page = tmp_path / WEB
    shutil.copytree(small, page)
    with served(page) as address, opened(driver) as tab:
        tab.goto(address)
        expect_state(tab, "^ready$")
        stopped = """async () => {
          const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
          const engine = createEngine(), give = new AbortController();
          await engine.info();
          const pieces = engine.stream("hello", [], { method: "beam", width: 20 }, give.signal);
          const first = pieces.next().then(() => "an answer", (error) => error.name);
          give.abort();
          return first;
        }"""
        assert tab.evaluate(stopped) == "AbortError"
        tab.evaluate("navigator.serviceWorker.ready.then(() => null)")
        export_web(trained.load_chosen(), tmp_path, "renamed", Runtime(DIST, "copied"))
        # the browser looks for a new version when it likes, but not between quick reloads: so it is asked to look now
        looked = """async () => {
          const found = await (await navigator.serviceWorker.getRegistration()).update();
          const worker = found.installing ?? found.waiting ?? found.active;
          while (!["activated", "redundant"].includes(worker.state))
            await new Promise((resolve, reject) => {
              worker.addEventListener("statechange", resolve, { once: true });
              setTimeout(reject, 120000, new Error(`the new version stays ${worker.state}`));
            });
        }"""
        tab.evaluate(looked)
        tab.reload()
        expect_state(tab, "^ready$")
        playwright.expect(tab.locator("#name")).to_have_text("renamed")


def test_the_runtime_may_come_from_elsewhere_but_only_the_right_one(
    driver: Any, trained: RunDirectory, tmp_path: Path
) -> None:
    export_web(trained.load_chosen(), tmp_path, "tiny", Runtime(None, "linked"))
    for harm, state in ((b"", "^ready$"), (b"\n", r"^ort\.wasm\.bundle\.min\.mjs is damaged, or of another export")):
        with served(tmp_path / WEB) as address, opened(driver) as tab:
            tab.context.route(f"{CDN}**", functools.partial(elsewhere, harm=harm))
            tab.goto(address)
            expect_state(tab, state)


def elsewhere(route: Any, harm: bytes) -> None:
    """Answer as the public host would, or with a script that somebody has changed."""
    name = route.request.url.removeprefix(CDN)
    content = (DIST / name).read_bytes() + (harm if name.endswith(".mjs") else b"")
    kind = "text/javascript" if name.endswith(".mjs") else "application/wasm"
    route.fulfill(body=content, headers={"access-control-allow-origin": "*", "content-type": kind})


@pytest.mark.skipif(FIREFOX is None, reason="there is no Firefox (Debian: apt-get install firefox-esr)")
def test_firefox_answers_as_python_does(small: Path, trained: RunDirectory) -> None:
    said = ["hello", "how are you?"]
    with served(small) as address:
        command = ["node", str(HERE / "web" / "firefox.mjs"), str(FIREFOX), address, *said]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    rounded = trained.load_chosen().quantized()
    bot = Chatbot.from_model(rounded.build_model(), rounded.config, rounded.vocabulary)
    assert json.loads(done.stdout) == {"state": "ready", "replies": bot.reply_batch(said), "different": 0}
