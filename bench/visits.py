"""Whole chats with bots that the visitor knows by a letter only, and the visitor's marks as a table.

    chatbot serve checkpoints/pretrained --port 9001        # and another bot at port 9002
    python bench/visits.py begin FOLDER --system box=http://127.0.0.1:9001 --system mine=http://127.0.0.1:9002 \
        --visitor anna --visitor ben
    python bench/visits.py say FOLDER anna a "hi there"
    python bench/visits.py score FOLDER

A sheet of bench/readers.py asks for one reply to turns that somebody wrote before. Here the visitor answers what the
bot did say, so a bot that loses the thread is found out.

`begin` gives each visitor the systems under letters of an order of its own; FOLDER/key.json says which is which. `say`
prints the reply, and writes both lines to FOLDER/VISITOR-LETTER.txt; with `--new` a new chat begins. When a chat is
over, its visitor puts a mark (those of bench/readers.py) in the place of the `=` before each reply there. `score` reads
the marks.
"""

import argparse
import json
import random
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

LETTERS = "abcdefghij"
MARKS = {2: "specific", 1: "dull", 0: "odd", -1: "broken"}
TIMEOUT = 60  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="whole chats with bots whose names the visitor does not know")
    verbs = parser.add_subparsers(required=True)
    made = verbs.add_parser("begin", help="give each visitor the systems under letters")
    made.set_defaults(do=begin)
    made.add_argument("folder", type=Path)
    made.add_argument("--system", action="append", required=True, metavar="NAME=ADDRESS")
    made.add_argument("--visitor", action="append", required=True, metavar="NAME")
    made.add_argument("--seed", type=int, default=1)
    made = verbs.add_parser("say", help="say a line to a bot")
    made.set_defaults(do=say)
    made.add_argument("folder", type=Path)
    made.add_argument("visitor")
    made.add_argument("letter")
    made.add_argument("text")
    made.add_argument("--new", action="store_true", help="begin a new chat")
    made = verbs.add_parser("score", help="the marks as a table")
    made.set_defaults(do=score)
    made.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.do(arguments)


def begin(arguments: argparse.Namespace) -> None:
    """Deal the letters."""
    addresses = dict(system.split("=", 1) for system in arguments.system)
    if len(addresses) > len(LETTERS) or (arguments.folder / "key.json").exists():
        raise SystemExit(f"{arguments.folder} has its letters already, or there are more than {len(LETTERS)} systems")
    rng, key = random.Random(arguments.seed), {}
    for visitor in arguments.visitor:
        names = sorted(addresses)
        rng.shuffle(names)
        key[visitor] = dict(zip(LETTERS, names, strict=False))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "key.json").write_text(json.dumps(key, indent=1) + "\n")
    (arguments.folder / "addresses.json").write_text(json.dumps(addresses) + "\n")  # of today, not to be kept


def say(arguments: argparse.Namespace) -> None:
    """Ask the server, and write down what was said."""
    folder = arguments.folder
    system = json.loads((folder / "key.json").read_text())[arguments.visitor][arguments.letter]
    address = json.loads((folder / "addresses.json").read_text())[system]
    path = folder / f"{arguments.visitor}-{arguments.letter}.txt"
    before = path.read_text() if path.exists() else ""
    chat = [] if arguments.new or not before else before.rstrip("\n").split("\n\n")[-1].split("\n")
    text = " ".join(arguments.text.split())
    asked = {"text": text, "history": [line.partition(" ")[2] for line in chat]}
    request = urllib.request.Request(
        f"{address}/reply", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        reply = json.load(answer)["reply"] or "(nothing)"
    with path.open("a") as file:
        file.write(f"{'' if chat or not before else chr(10)}> {text}\n= {reply}\n")
    print(reply)


def score(arguments: argparse.Namespace) -> None:
    """Shares of each mark by system, and how many replies were sensible where a chat had gone on."""
    key = json.loads((arguments.folder / "key.json").read_text())
    first, later = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for visitor, letters in key.items():
        for letter, system in letters.items():
            path = arguments.folder / f"{visitor}-{letter}.txt"
            for chat in path.read_text().strip().split("\n\n") if path.exists() else ():
                given = [line.partition(" ")[0] for line in chat.split("\n")[1::2]]
                if unknown := set(given) - set(map(str, MARKS)):
                    raise SystemExit(f"{path}: a reply begins with {unknown.pop()}, and not with a mark")
                marks = list(map(int, given))
                first[system] += marks[:1]
                later[system] += marks[1:]
    print(
        f"{'system':16}{'specific':>9}{'dull':>7}{'odd':>7}{'broken':>8}{'sensible':>10}{'first':>7}{'later':>7}{'replies':>9}"
    )
    for system in sorted(first):
        marks = first[system] + later[system]
        counts = Counter(marks)
        columns = "".join(
            f"{counts[mark] / len(marks):{width}.0%}" for mark, width in zip(MARKS, (9, 7, 7, 8), strict=True)
        )
        sensible = (
            sum(mark > 0 for mark in some) / max(1, len(some)) for some in (marks, first[system], later[system])
        )
        print(f"{system:16}{columns}{next(sensible):10.0%}{next(sensible):7.0%}{next(sensible):7.0%}{len(marks):9}")


if __name__ == "__main__":
    main()
