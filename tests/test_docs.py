"""The documentation: what it links to, calls and names exists. `make docs-check` runs its commands."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot import __main__ as door
from chatbot.config.arguments import parser
from chatbot.config.settings import CorpusConfig
from chatbot.corpus.mixture import AUTO, resolve_mixture
from chatbot.corpus.preparation import prepare
from chatbot.corpus.sources import Offers

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import check

ROOT = check.ROOT
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
PAGES = [*check.pages(), ROOT / "checkpoints" / "README.md", ROOT / "data" / "sample" / "README.md"]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
COMMANDS = [
    pytest.param(command, id=f"{page.name}:{block.line}: {' '.join(command.split())[:60]}")
    for page in check.pages()
    for block in check.blocks(page)
    if block.is_shell
    for command, _, _ in block.commands()
]


def anchor(heading: str) -> str:
    """The name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        path, _, wanted = target.partition("#")
        if not path.startswith(("https://", "http://")):
            to = page.parent / path if path else page
            assert to.exists(), target
            headings = re.findall(r"^#+ (.*)", to.read_text(), flags=re.MULTILINE) if wanted else []
            assert not wanted or wanted in map(anchor, headings), target


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_make_target_and_program_that_is_named_is_there(name: str) -> None:
    quoted = re.findall(r"`([^`\n]+)`", TEXTS[name])
    for text in quoted:
        if found := re.match(r"make ([a-z-]+)", text):
            assert found[1] in TARGETS, text
        for path in re.findall(r"\b(?:bench|docs|tests|cpp|chatbot)/[a-z_/]+\.\w+", text):
            assert (ROOT / path).exists(), text
        for file in re.findall(r"\btest_[a-z_]+\.py", text):
            assert (ROOT / "tests" / file).exists(), text
        if found := re.match(r"(?:\.venv/bin/)?chatbot ([a-z-]+)", text):
            assert found[1] in verbs(), text


def test_no_variable_of_make_reaches_the_commands_of_the_pages() -> None:
    first = MAKEFILE.splitlines()[0]
    assert set(re.findall(r"\b([A-Z]+)=", first)) <= check.OF_MAKE


def verbs() -> set[str]:
    actions = parser(door.VERBS)._subparsers._group_actions  # type: ignore[union-attr]
    return set(actions[0].choices)


def flags() -> set[str]:
    """Every flag of the program, the benches, the C++ client; those of pip and torchrun that are used."""
    sources = [*ROOT.glob("bench/*.py"), ROOT / "cpp" / "chatbot.cpp"]
    known = {flag for path in sources for flag in re.findall(r'"(--[a-z-]+)', path.read_text())}
    for verb in parser(door.VERBS)._subparsers._group_actions[0].choices.values():  # type: ignore[union-attr]
        known |= set(verb._option_string_actions)
    known |= {"--version", "--no-deps"}  # the parser's own; pip's
    known |= {"--rm", "--build-arg", "--install"}  # docker's; xcode-select's
    return known | {"--nnodes", "--nproc-per-node", "--max-restarts", "--rdzv-backend", "--rdzv-endpoint"}  # torchrun's


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_flag_that_is_named_is_one(name: str) -> None:
    assert set(re.findall(r"(?<![\w<-])(--[a-z][a-z-]*)", TEXTS[name])) <= flags()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_is_understood(command: str) -> None:
    for part in command.split(" | "):
        words = shlex.split(part, comments=True)
        words = words[: words.index("<")] if "<" in words else words
        if words[0] == "make" and "-C" not in words:
            given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            (target,) = (word for word in words[1:] if "=" not in word)
            assert target in TARGETS
            assert set(given) <= set(re.findall(r"\$\((?:if \$\()?([A-Z]+)\)", MAKEFILE))
            if target in verbs():
                run = {"train": ["--run", "x"], "prepare": []}.get(target, ["x"]) if "RUN" in given else []
                parser(door.VERBS).parse_args([target, *run, *shlex.split(given.get("ARGS", ""))])
        elif words[0].split("/")[-1] == "chatbot" and not words[0].startswith("cpp/") and "--version" not in words:
            parser(door.VERBS).parse_args(words[1:])
        elif words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file()


def test_blocks_are_found_with_what_the_comments_before_them_say(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n<!-- first: touch one -->\n<!-- not run: too long -->\n\n    make train \\\n        RUN=x\n\nmore\n"
        "    a line that goes on\n\n```python\nprint(1)\n```\n\n<!-- file: a/b -->\n\n    x\ty\n\n"
        "<!-- first: lost -->\ntext\n\n    $ chatbot chat  # talk\n    > hi\n    Hello.\n"
    )
    found = [(block.line, block.language, block.is_shell, block.notes) for block in check.blocks(page)]
    assert found == [
        (6, "", True, [("first", "touch one"), ("not run", "too long")]),
        (13, "python", False, []),
        (18, "", False, [("file", "a/b")]),
        (23, "", True, []),
    ]
    blocks = list(check.blocks(page))
    assert [" ".join(command.split()) for command, _, _ in blocks[0].commands()] == ["make train RUN=x"]
    assert blocks[3].commands() == [("chatbot chat  # talk", ["hi"], ["Hello."])]


@pytest.mark.parametrize(
    ("command", "printed", "says"),
    [
        ("echo one; echo two; echo three", ["one", "three"], None),
        ("echo one; echo two", ["two", "one"], "'one' was not printed"),
        ("cat", ["typed"], None),
        ("echo no; exit 3", [], "exit code 3\nno\n"),
        ("sleep 60 & wait", [], "not done after 0.1 s"),
    ],
)
def test_a_command_that_fails_or_says_something_else_is_found_out(
    command: str, printed: list[str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command.startswith("sleep"):
        monkeypatch.setattr(check, "SECONDS", 0.1)
    wrong = check.run(command, ["typed"], printed, tmp_path)
    assert wrong is None if says is None else wrong is not None and wrong.startswith(says)


def test_all_corpora_of_auto_are_at_hand_for_the_pages(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "data" / "sample", tmp_path / "sample")
    check.stand_ins(tmp_path)
    config = CorpusConfig(corpus=resolve_mixture("auto", tmp_path, Offers(url="", pip=("false",))).spec)
    figures = prepare(config, tmp_path).figures
    read = [(source["name"], source["format_read"], source["bad_lines"]["count"]) for source in figures["sources"]]
    assert read == [("cornell", "cornell", 0), ("chitchat", "chitchat", 0), ("sample", "transcript", 0)]
    assert all(size for split in figures["splits"].values() for size in split["by_part"])


def test_the_pages_say_what_auto_is() -> None:
    assert f"`{AUTO.removeprefix('auto is ')}`" in (ROOT / "docs" / "data.md").read_text()


def test_a_page_with_a_wrong_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "page.md"
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "scratch", lambda folder: folder)
    page.write_text(
        "<!-- file: f.txt -->\n\n    content\n\n<!-- -->\n\n    cat f.txt\n\n<!-- not run: why -->\n\n    make tea\n"
    )
    assert check.main(["page.md"]) == 0
    said = capsys.readouterr().out
    assert "1 ran, 0 failed, 1 left out:\npage.md:11: why: make tea" in said
    page.write_text("    cat nothing.txt\n")
    assert check.main(["page.md"]) == 1
    assert "exit code 1" in capsys.readouterr().out


def test_make_knows_its_targets() -> None:
    listed = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", listed, flags=re.MULTILINE)) == TARGETS


def test_the_spine_that_the_readme_names_is_short() -> None:
    named = re.findall(r"\]\((chatbot/[a-z_/]+\.py)\)", (ROOT / "README.md").read_text())
    assert len(named) == 11
    assert sum(len((ROOT / name).read_text().splitlines()) for name in named) < 2200  # "about 2,200 lines"
