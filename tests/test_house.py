"""The house: imports between packages go one way, and each thing that belongs to one file stays there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "chatbot"
ORDER = [
    "system",
    "config",
    "corpus",
    "network",
    "decoding",
    "runs",
    "deployment",
    "chat",
    "serving",
    "evaluation",
    "training",
    "verbs",
]
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(name: str) -> Iterator[str]:
    """The files of this program that a file imports, as `corpus.pairs`, wherever in it, save for annotations only."""
    package = name.split(".")[:-1]
    typing = {
        node
        for block in ast.walk(FILES[name])
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(FILES[name])) - typing:
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inside = ".".join([*parts, alias.name])
                yield inside if inside in FILES else ".".join(parts)


def test_a_package_imports_only_those_before_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in FILES
        if (package := name.split(".")[0]) in ORDER
        for other in imports(name)
        if other and ORDER.index(other.split(".")[0]) > ORDER.index(package)
    ]
    assert not wrong


def test_the_files_of_a_package_do_not_import_in_a_circle() -> None:
    left = {name: {other for other in imports(name) if other in FILES and other != name} for name in FILES}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left


def test_every_folder_is_in_the_order_and_says_what_it_is() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ORDER)
    for path in PACKAGE.rglob("*/__init__.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        assert len(ast.get_docstring(FILES[name]) or "") > 200, name
        assert len(FILES[name].body) == 1, f"{name} imports nothing, so that one file can be had without the others"


def test_the_tree_that_is_shown_names_every_package() -> None:
    tree = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("├── chatbot/")[1].split("├── data/")[0]
    assert re.findall(r"^ *│   [├└]── (\w+)/", tree, flags=re.MULTILINE) == list(ORDER)


def test_model_and_search_do_not_know_each_other() -> None:
    searches = ("decoding.search", "decoding.beam", "decoding.sampling")
    assert not any(other.startswith("network.") for search in searches for other in imports(search))


@pytest.mark.parametrize("room", ["training.loop", "evaluation.likelihood", "chat.bot"])
def test_what_trains_or_answers_does_not_load_what_exports(room: str) -> None:
    code = (
        f"import sys, chatbot.{room}; print(*(name for name in sys.modules if name.startswith('chatbot.deployment')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        (r"torch\.jit\b", {"deployment.torchscript"}),
        (r"torch\.distributed\b", {"training.distributed"}),
        (
            r"\bre\.\w+\(",
            {"corpus.tokenizer", "corpus.unicode_tokenizer", "corpus.formats", "corpus.sources", "corpus.forms"},
        ),
        (r"\bsys\.argv\b|\bparse_args\(", {"__main__"}),
        (r"\bprint\(", {"__main__", "verbs.told", "verbs.talk", "chat.terminal", "serving.lines", "runs.directory"}),
        (r"\berror\.strerror\b", {"system.errors", "__main__"}),
        (r"\bfcntl\b", {"system.lock"}),
    ],
)
def test_what_belongs_to_one_file_stays_there(pattern: str, files: set[str]) -> None:
    found = {name for name, tree in FILES.items() if re.search(pattern, ast.unparse(_without_docstrings(tree)))}
    assert {name for name in found if not any(name == file or name.startswith(f"{file}.") for file in files)} == set()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0] = ast.Pass()
    return tree


def test_nothing_dangerous_is_called() -> None:
    for name, tree in FILES.items():
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}, name
    loads = [
        node
        for tree in FILES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    for call in loads:
        assert {"weights_only": "True"}.items() <= {k.arg: ast.unparse(k.value) for k in call.keywords}.items()
