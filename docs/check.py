"""Runs the commands of the documentation, in the order in which a reader meets them: `make docs-check`.

    python docs/check.py [README.md docs/data.md ...]

Blocks are indented by four spaces or fenced. A fenced block of `python` is a program; a block of `sh`, or one without a
language whose first word is a program's, is commands. In a block whose lines begin with `$ `, what follows a command is
what is typed into it (`> text`) and what it must print: each line, in that order, perhaps with others between.
A comment before a block, invisible to who reads the page, tells what the page cannot:

    <!-- not run: REASON -->    the block is left out, and the list at the end says why
    <!-- first: COMMAND -->     what the page takes for granted at this point
    <!-- file: NAME -->         the block is the content of this file

All of it happens in one scratch copy of the checkout with a link to the environment that runs this. Three things differ
from a reader's machine: conversations of the sample stand in for the Cornell corpus and the chitchat-dataset, the
presets are a small network and a few steps (`sample` a fifth of its own), and pip only says what it would install.
Exit code 1 if anything failed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"make", "chatbot", "python", "pip", "torchrun", "cmake", "echo", "git", "cd", "cat"}
NOTE = re.compile(r"<!-- (not run|first|file): (.*) -->")
OF_MAKE = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "MAKE_TERMOUT", "MAKE_TERMERR"}
OF_MAKE |= {"CORPUS", "RUN", "FROM", "NPROC", "ARGS", "PYTHON"}  # of ours
SECONDS = 1800  # that one command may take
SMALL = """
for _name in ("everyday", "default", "tutorial"):
    _few = dataclasses.replace(PRESETS[_name].training, steps=6, warmup_steps=0)
    _small = dataclasses.replace(PRESETS[_name].model, hidden_size=16)
    _all = dataclasses.replace(PRESETS[_name].corpus, min_count=1)
    PRESETS[_name] = dataclasses.replace(PRESETS[_name], corpus=_all, model=_small, training=_few)
_sample = dataclasses.replace(PRESETS["sample"].training, steps=PRESETS["sample"].training.steps // 5)
PRESETS["sample"] = dataclasses.replace(PRESETS["sample"], training=_sample)
"""


@dataclass
class Block:
    """Lines of a page that are set off, and what the comments before them say."""

    page: Path
    line: int  # of its first line, from 1
    language: str
    lines: list[str]
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_shell(self) -> bool:
        word = self.lines[0].split(" ")[0]
        known = word in PROGRAMS | {"$"} or word.startswith((".venv/bin/", "cpp/build/"))
        return self.language in ("sh", "console") or (not self.language and known)

    def note(self, kind: str) -> list[str]:
        return [text for of, text in self.notes if of == kind]

    def commands(self) -> list[tuple[str, list[str], list[str]]]:
        """Each command, with what is typed into it and what it must print."""
        found: list[tuple[str, list[str], list[str]]] = []
        session = self.lines[0].startswith("$ ")
        for line in "\n".join(self.lines).replace("\\\n", " ").splitlines():
            if line.startswith("$ ") or not session:
                if line.strip() and not line.startswith("#"):
                    found.append((line.removeprefix("$ "), [], []))
            elif line.startswith("> "):
                found[-1][1].append(line[2:])
            elif line.strip():
                found[-1][2].append(line.strip())
        return found


def pages() -> list[Path]:
    """README, then what it leads to."""
    readme = ROOT / "README.md"
    card = ROOT / "checkpoints" / "pretrained" / "MODEL_CARD.md"
    return [readme, *sorted((ROOT / "docs").rglob("*.md")), *sorted(set(ROOT.glob("*.md")) - {readme}), card]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, fenced or indented (not those inside a list)."""
    lines, notes, at, before = page.read_text().splitlines(), [], 0, ""
    while at < len(lines):
        line, start = lines[at], at
        if note := NOTE.fullmatch(line.strip()):
            notes.append((note[1], note[2]))
        elif line.startswith("```"):
            at += 1
            while not lines[at].startswith("```"):
                at += 1
            yield Block(page, start + 2, line[3:].strip(), lines[start + 1 : at], notes)
            notes = []
        elif line.startswith("    ") and not before:
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            text = [line[4:] for line in lines[start:at]]
            while not text[-1].strip():
                text.pop()
            yield Block(page, start + 1, "", text, notes)
            notes, at = [], at - 1
        elif line.strip():
            notes = []
        before = lines[at].strip() if not NOTE.fullmatch(lines[at].strip()) else ""
        at += 1


def copy_of_checkout(folder: Path) -> Path:
    """What git has, or would take, of the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def scratch(folder: Path) -> Path:
    """A copy of the checkout in which everything takes seconds."""
    copy_of_checkout(folder)
    config = folder / "chatbot" / "config" / "presets.py"
    config.write_text(config.read_text() + SMALL)
    stand_ins(folder / "data")
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in (".installed", ".developed"):
            (folder / ".venv" / entry.name).symlink_to(entry)
    for stamp in (".installed", ".developed"):  # as new as can be: make installs nothing
        (folder / ".venv" / stamp).touch()
    return folder


def stand_ins(data: Path) -> None:
    """Write what stands in for the two corpora that are downloaded, in their formats, into the folder of corpora."""
    said = {
        name: [
            talk.replace("> ", "").split("\n") for talk in (data / "sample" / name).read_text().strip().split("\n\n")
        ]
        for name in ("life.txt", "feelings.txt")
    }
    films, chats = data / "cornell movie-dialogs corpus", data / "chitchat"
    films.mkdir()
    chats.mkdir()
    with (films / "movie_lines.txt").open("w") as lines, (films / "movie_conversations.txt").open("w") as talks:
        for number, turns in enumerate(said["life.txt"]):
            film, names = f"m{number // 20}", [f"L{number}-{turn}" for turn in range(len(turns))]
            for name, text in zip(names, turns, strict=True):
                lines.write(f"{name} +++$+++ u0 +++$+++ {film} +++$+++ ANN +++$+++ {text}\n")
            talks.write(f"u0 +++$+++ u1 +++$+++ {film} +++$+++ {names}\n")
    messages = [[[{"text": text, "sender": "x"}] for text in turns] for turns in said["feelings.txt"]]
    named = {f"k{number}": {"messages": turns} for number, turns in enumerate(messages)}
    (chats / "dataset.json").write_text(json.dumps(named))


def run(command: str, typed: list[str], printed: list[str], folder: Path) -> str | None:
    """Run a command line; returns what was wrong."""
    path = os.pathsep.join([str(folder / ".venv" / "bin"), os.environ["PATH"]])
    # the variables of the make that runs this are not for those of the pages
    environment = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    environment |= {"PATH": path, "PYTHONPATH": str(folder), "PIP_DRY_RUN": "1"}
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate("".join(line + "\n" for line in typed), SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        os.killpg(process.pid, signal.SIGKILL)  # whatever it has started, too
        process.communicate()
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"not done after {SECONDS} s"
    if process.returncode:
        return f"exit code {process.returncode}\n{said[-2000:]}"
    output = iter(said.splitlines())
    for line in printed:
        if not any(line == other.strip() for other in output):
            return f"{line!r} was not printed, or not there\n{said[-2000:]}"
    return None


def main(arguments: list[str]) -> int:
    """Run the pages named, or all; print what was run, what was left out and why."""
    ran, failed, skipped = 0, 0, []

    def step(what: str, command: str, typed: list[str], printed: list[str]) -> None:
        nonlocal ran, failed
        began = time.monotonic()
        wrong = run(command, typed, printed, folder)
        ran, failed = ran + 1, failed + bool(wrong)
        print(f"{'FAILED' if wrong else 'ran'} {time.monotonic() - began:6.1f} s  {what}", flush=True)
        if wrong:
            print("    " + wrong.replace("\n", "\n    "), flush=True)

    with tempfile.TemporaryDirectory(prefix="chatbot-docs-") as temporary:
        folder = scratch(Path(temporary))
        for page in [ROOT / name for name in arguments] or pages():
            print(f"{page.relative_to(ROOT)}", flush=True)
            for block in blocks(page):
                reason = " ".join(block.note("not run"))
                for command in block.note("first"):
                    step(f"(first) {command}", command, [], [])
                for name in block.note("file"):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_text("\n".join(block.lines) + "\n")
                if block.note("file"):
                    continue
                if block.language == "python" and not reason:
                    (folder / "snippet.py").write_text("\n".join(block.lines) + "\n")
                    step(f"the Python of line {block.line}", "python snippet.py", [], [])
                elif block.language == "python":
                    skipped.append(f"{page.relative_to(ROOT)}:{block.line}: {reason}: Python")
                elif block.is_shell:
                    for command, typed, printed in block.commands():
                        if reason:
                            skipped.append(
                                f"{page.relative_to(ROOT)}:{block.line}: {reason}: {' '.join(command.split())}"
                            )
                        else:
                            step(" ".join(command.split()), command, typed, printed)
    print(f"\n{ran} ran, {failed} failed, {len(skipped)} left out:")
    print("\n".join(skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
