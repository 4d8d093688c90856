"""Builds the pages as a site: `make docs` writes build/site.

The pages link to each other and to files of the repository as they lie there, so that they work on a code host too. The
site is built from a copy with the same folders: README.md, every page, and the files that the pages link to. The API
reference is made from docstrings. A warning is an error: a link that leads nowhere ends the build.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import check

ROOT = Path(__file__).resolve().parent.parent
COPY, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)|src=\"([^\"]+)\"")
API = """# API

What `from chatbot import ...` gives, and what a program is likely to use besides. Other modules may change with any
version.

::: chatbot.chat.bot.Chatbot
::: chatbot.chat.conversation.Conversation
::: chatbot.config.settings.DecodingConfig
::: chatbot.system.errors.ChatbotError
::: chatbot.config.settings.Config
::: chatbot.corpus.preparation.prepare
::: chatbot.corpus.prepared.PairDataset
::: chatbot.corpus.vocabulary.Vocabulary
::: chatbot.network.model.Seq2Seq
::: chatbot.decoding.search.GreedySearchDecoder
::: chatbot.training.loop.train
::: chatbot.runs.checkpoint.Checkpoint
::: chatbot.runs.directory.RunDirectory
::: chatbot.deployment.torchscript.export
::: chatbot.deployment.bundle.BundleModule
"""


def staged(copy: Path) -> list[Path]:
    """Copy every page, and the files that the pages link to, into `copy`. Returns the pages."""
    shutil.rmtree(copy, ignore_errors=True)
    pages = [*check.pages(), ROOT / "data" / "sample" / "README.md", ROOT / "checkpoints" / "README.md"]
    for page in pages:
        files = [page, *(page.parent / (path or source) for path, source in LINK.findall(page.read_text("utf-8")))]
        for file in map(Path.resolve, files):
            # links to folders are left to the code host
            if file.is_file() and file.is_relative_to(ROOT):
                target = copy / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    (copy / "docs" / "api.md").write_text(API, encoding="utf-8")
    return pages


def main() -> int:
    """Build the site; the exit code is MkDocs'."""
    staged(COPY)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(SITE)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # it tells of a successor at each build
    code = subprocess.call([*command, "--config-file", str(ROOT / "mkdocs.yml")], env=environment)
    if code == 0:
        folder = SITE.relative_to(ROOT)
        print(f"{folder} is the site; to look at it: {Path(sys.executable).name} -m http.server -d {folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
