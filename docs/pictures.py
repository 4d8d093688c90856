"""Makes the pictures of the pages that show a program at work, each under 200 kB.

    python docs/pictures.py attention                        # docs/pictures/attention.png
    python docs/pictures.py tensorboard --runs checkpoints   # docs/pictures/tensorboard.png, of the runs in a folder
    CHATBOT_PICTURE=$PWD/docs/pictures/serve.png pytest -n 0 tests/test_page.py -k picture   # the server's page

The last two need Chromium and the extra [dev]. Other pictures have commands on the pages that show them.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from chatbot import Chatbot
from chatbot.chat.pictures import attention_picture, save_picture

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 200_000
PROMPT = "my dog died yesterday"
TOLD = re.compile(r"http://\S+:(\d+)")  # where a server says that it listens


def main() -> int:
    made = argparse.ArgumentParser(description="make pictures for the pages")
    made.add_argument("what", choices=("attention", "tensorboard"))
    made.add_argument("--bot", default="checkpoints/pretrained", help="for attention")
    made.add_argument("--runs", default="checkpoints", help="for tensorboard: a folder of runs")
    arguments = made.parse_args()
    path = FOLDER / f"{arguments.what}.png"
    if arguments.what == "attention":
        read, said, weights = Chatbot.load(arguments.bot).attend(PROMPT)
        save_picture(path, attention_picture(weights, read, said))  # as `/attention FILE.png` in a conversation
    else:
        with listening("tensorboard.main", "--logdir", arguments.runs, "--port", "0") as address, browser() as page:
            page.goto(f"{address}/?tagFilter=loss|perplexity#timeseries")
            page.locator("card-view canvas, card-view svg").first.wait_for()
            page.wait_for_timeout(5000)  # for the curves to be drawn: nothing tells when they are
            save(page.screenshot(clip={"x": 0, "y": 0, "width": 948, "height": 760}), path)  # without its settings
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes", file=sys.stderr)
    return int(path.stat().st_size > MOST_BYTES)


@contextmanager
def listening(module: str, *arguments: str) -> Iterator[str]:
    """The address of a server, which runs until the end of the block."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            told = next(filter(None, map(TOLD.search, server.stdout)), None)
            if told is None:
                raise SystemExit(f"{module} ended before it listened")
            yield f"http://127.0.0.1:{told[1]}"
        finally:
            server.terminate()


@contextmanager
def browser() -> Iterator[Any]:
    """A page of Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1200, "height": 760})
        page.set_default_timeout(120_000)
        yield page
        opened.close()


def save(screenshot: bytes, path: Path) -> None:
    """Write a screenshot as a PNG of 128 colours, which is a third of the size."""
    Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
