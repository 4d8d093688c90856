"""The floors: imports go downward only, and each thing that belongs to one room stays in it."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "chatbot"
FLOORS = (
    {"errors", "files", "lock", "config", "tokenizer", "vocabulary", "interruption", "products", "dropout"}
    | {"attention", "devices", "memory", "threads"},
    {
        "gru",
        "copying",
        "search",
        "metrics",
        "inputs",
        "scattered",
        "prepared",
        "pictures",
        "report",
        "replies",
        "scoreboard",
        "ngrams",
        "flags",
    }
    | {"spelling", "manifest", "quantization"},
    {"model", "beam", "sampling", "dataset", "distributed", "tables", "sources", "frequencies", "graph"}
    | {"arguments"},
    {"checkpoint", "decoding", "likelihood", "evaluation", "formats", "optimization", "bundle", "operators"},
    {"run"},
    {"export", "exchange", "journal", "corpus", "lineage"},
    {"bot", "draft", "packing"},
    {"numbering", "conversation", "answers"},
    {"preparation", "training", "repl"},
    {"yardstick"},
    {"examination"},
    {"__main__"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def imported_rooms(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found - {"__version__"}


def test_every_room_has_a_floor() -> None:
    assert set(ROOMS) == set(FLOOR)


def test_the_tree_that_is_shown_names_every_room() -> None:
    tree = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("├── chatbot/")[1].split("├── data/")[0]
    named = re.findall(r"^ *│   [├└]── ([a-z_, ]+?)(?:  .*)?$", tree, flags=re.MULTILINE)
    assert sorted(room for line in named for room in line.split(", ")) == sorted(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_downward_or_stay_among_the_lowest(room: str) -> None:
    for other in imported_rooms(ROOMS[room]):
        # the ground floor's rooms may know each other; every other stair leads down
        assert FLOOR[other] < FLOOR[room] or FLOOR[room] == 0, f"{room} imports {other}"


def test_model_and_search_do_not_know_each_other() -> None:
    searches = {"search", "beam", "sampling", "decoding"}
    assert not searches & imported_rooms(ROOMS["model"])
    assert not any("model" in imported_rooms(ROOMS[search]) for search in searches)


@pytest.mark.parametrize(
    ("pattern", "room"),
    [
        (r"torch\.jit\b", {"export"}),
        (r"torch\.distributed\b", {"distributed"}),
        (r"\bre\.compile\(", {"tokenizer", "formats"}),
        (r"\bsys\.argv\b|\bparse_args\(", {"__main__"}),
        (r"\bprint\(", {"__main__", "repl", "run"}),
    ],
)
def test_what_belongs_to_one_room_stays_there(pattern: str, room: set[str]) -> None:
    code = {
        path.stem: ast.unparse(_without_docstrings(ROOMS[path.stem]))
        for path in PACKAGE.glob("*.py")
        if path.stem in ROOMS
    }
    assert {name for name, text in code.items() if re.search(pattern, text)} <= room


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
    for name, tree in ROOMS.items():
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}, name
    loads = [
        node
        for tree in ROOMS.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    for call in loads:
        assert {"weights_only": "True"}.items() <= {k.arg: ast.unparse(k.value) for k in call.keywords}.items()
