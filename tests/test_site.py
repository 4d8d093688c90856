"""The pages as a site, in a real browser: built without a warning, read at two widths, searched without a network."""

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright import sync_api as playwright
from test_page import BROWSER, SECONDS, browser

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
]
browser = browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, built as `make docs` builds it from a copy of what it is made of."""
    copy = tmp_path_factory.mktemp("checkout")
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(path, copy)
    for folder in ("docs", "chatbot", "data/sample", "checkpoints", "bench", "tests", "cpp"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "build", "*.pt"))
    built = subprocess.run([sys.executable, copy / "docs" / "site.py"], cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(copy / "build" / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    with browser.new_context(viewport=dict(zip(("width", "height"), request.param, strict=True))) as context:
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        asked = list[str]()
        page.on("request", lambda sent: asked.append(sent.url))
        yield page
        assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


@pytest.mark.parametrize("name", ["index.html", "docs/architecture.html", "docs/api.html", "docs/data.html"])
def test_a_page_is_whole_at_any_width(name: str, page: Any, site: str, tmp_path: Path) -> None:
    page.goto(f"{site}/{name}")
    playwright.expect(page.locator("h1").first).to_be_visible()
    # wide tables scroll by themselves; the page does not
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000, "more than an empty page"


def test_the_reference_has_what_docstrings_say(page: Any, site: str) -> None:
    page.goto(f"{site}/docs/api.html")
    playwright.expect(page.locator("#chatbot\\.chat\\.bot\\.Chatbot\\.reply")).to_have_count(1)
    playwright.expect(page.get_by_text("The reply to one sentence").first).to_be_attached()


def test_search_finds_a_page(page: Any, site: str) -> None:
    page.goto(f"{site}/index.html")
    page.keyboard.press("/")
    page.keyboard.type("whatsapp")
    playwright.expect(page.locator(".md-search-result__item").first).to_contain_text("WhatsApp")
