"""Replies judged by readers who do not know which system said what: sheets to read, and the marks as a table.

    python bench/readers.py sheet FOLDER --system box=checkpoints/pretrained --system tutorial=checkpoints/t@greedy
    python bench/readers.py score FOLDER

`sheet` answers prompts with every system and writes FOLDER/sheet-1.txt, ...: to each prompt the replies in a random
order of its own, of equal ones only one. FOLDER/key.json says which system gave which. A reader copies a sheet to
marks-1-NAME.txt and puts a mark in front of each reply; docs/evaluation.md has the instructions. `score` reads all
marks-*.txt.

A system is NAME=RUN or NAME=RUN@DECODING, where RUN is whatever `chatbot chat` opens, and DECODING is written as for
`chatbot evaluate --decodings`. Prompts are bench/everyday/prompts.txt; `--conversations` takes the exchanges of
bench/everyday/conversations.txt instead, or of a file that is named behind it, `--held-out 100` so many prompts of the
films in the test split of a run, `--prompts FILE` those of a file, one a line. A system named by `--alone` reads only
the last turn of an exchange.
"""

import argparse
import itertools
import json
import random
import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path

import torch
from visits import MARKS

from chatbot.chat.bot import Chatbot
from chatbot.chat.terminal import describe
from chatbot.config.presets import decoding_named

EVERYDAY = Path(__file__).resolve().parent / "everyday"
INSTRUCTIONS = """\
To each prompt there are some replies. Put a mark and a space in front of each letter:
 2  a sensible reply that fits this prompt and few others
 1  a sensible reply, but dull: it would fit very many prompts
 0  correct English, but odd: it does not answer, or contradicts itself or what Robin is
-1  broken English: no sentence that a person would write
Robin, who replies, is a chatbot: a small computer program. Read each reply by itself, as the visitor would.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="replies judged by readers")
    verbs = parser.add_subparsers(required=True)
    made = verbs.add_parser("sheet", help="answer prompts, write sheets and their key")
    made.set_defaults(do=sheet)
    made.add_argument("folder", type=Path)
    made.add_argument("--system", action="append", required=True, metavar="NAME=RUN[@DECODING]")
    made.add_argument("--conversations", type=Path, nargs="?", const=EVERYDAY / "conversations.txt")
    made.add_argument("--prompts", type=Path, default=EVERYDAY / "prompts.txt")
    made.add_argument("--alone", action="append", default=[], metavar="NAME")
    made.add_argument("--held-out", type=int, default=0, metavar="N", help="prompts of the test split of --run")
    made.add_argument("--run", type=Path, help="a run whose corpus holds the films")
    made.add_argument("--data-dir", type=Path, default=Path("data"))
    made.add_argument("--first", type=int, default=0, help="only so many prompts")
    made.add_argument("--per-sheet", type=int, default=120, help="prompts on a sheet")
    made.add_argument("--seed", type=int, default=1)
    made = verbs.add_parser("score", help="the marks as a table")
    made.set_defaults(do=score)
    made.add_argument("folder", type=Path)
    made.add_argument("--against", metavar="NAME", help="how often each system is preferred to this one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.do(arguments)


Exchange = list[str]  # the turns before, and the prompt


def exchanges(arguments: argparse.Namespace) -> list[Exchange]:
    """What is to be answered."""
    if arguments.conversations:
        blocks = arguments.conversations.read_text().strip().split("\n\n")
        return [[line.removeprefix("> ") for line in block.splitlines()] for block in blocks]
    if arguments.held_out:
        return held_out(arguments.run, arguments.data_dir, arguments.held_out)
    return [[line] for line in arguments.prompts.read_text().splitlines()]


def held_out(run: Path, data_dir: Path, count: int) -> list[Exchange]:
    """Prompts of test films that have no turn before them, drawn at random."""
    from chatbot.evaluation.examination import held_out_pairs
    from chatbot.runs.directory import RunDirectory

    checkpoint = RunDirectory(run).load_chosen()
    _, dataset = held_out_pairs(checkpoint, data_dir, split="test")
    films = next(part.indices for part in dataset.parts if part.name == "cornell")
    words = checkpoint.vocabulary.tokens
    found = []
    for index in random.Random(1).sample(films, min(len(films), 8 * count)):
        prompt = [words[id] for id in dataset[index][0]]
        if "<sep>" not in prompt and "<unk>" not in prompt:
            found.append([checkpoint.tokenizer.detokenize(prompt)])
    return found[:count]


def sheet(arguments: argparse.Namespace) -> None:
    """Answer, shuffle, write."""
    asked = exchanges(arguments)
    asked = asked[: arguments.first] if arguments.first else asked
    said: dict[str, list[str]] = {}
    systems: dict[str, str] = {}
    for system in arguments.system:
        name, _, place = system.partition("=")
        path, _, decoding = place.partition("@")
        bot = Chatbot.load(path)
        way = decoding_named(decoding or "default", bot.decoding)
        prompts = [bot.prompt_ids(turns[-1], () if name in arguments.alone else turns[:-1]) for turns in asked]
        said[name] = bot.reply_batch(prompts, decoding=way)
        systems[name] = describe(way)  # not where it lies, which is nobody's business
    rng = random.Random(arguments.seed)
    key: dict[str, dict[str, list[str]]] = {}
    blocks = []
    for number, turns in enumerate(asked, 1):
        by_reply: defaultdict[str, list[str]] = defaultdict(list)
        for name, replies in said.items():
            by_reply[replies[number - 1]].append(name)
        shuffled = sorted(by_reply)
        rng.shuffle(shuffled)
        letters = [chr(ord("a") + place) for place in range(len(shuffled))]
        key[str(number)] = {letter: [reply, *by_reply[reply]] for letter, reply in zip(letters, shuffled, strict=True)}
        before = [f"    {'bot' if place % 2 else 'visitor'}: {turn}" for place, turn in enumerate(turns[:-1])]
        lines = [
            f"{number}. > {turns[-1]}",
            *(f"{letter}) {reply}" for letter, reply in zip(letters, shuffled, strict=True)),
        ]
        blocks.append("\n".join([*before, *lines]))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "key.json").write_text(json.dumps({"systems": systems, "key": key}, indent=1) + "\n")
    for page, start in enumerate(range(0, len(blocks), arguments.per_sheet), 1):
        path = arguments.folder / f"sheet-{page}.txt"
        path.write_text(INSTRUCTIONS + "\n" + "\n\n".join(blocks[start : start + arguments.per_sheet]) + "\n")
        print(f"wrote {path}")


def marks_of(folder: Path) -> dict[str, dict[tuple[str, str], int]]:
    """By reader: the mark of each reply, by prompt and letter."""
    found: defaultdict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for path in sorted(folder.glob("marks-*.txt")):
        reader = path.stem.split("-", 2)[-1]
        number = ""
        for line in path.read_text().splitlines():
            if prompt := re.match(r"(\d+)\. > ", line):
                number = prompt[1]
            elif mark := re.match(r"\s*(-1|0|1|2)\s+([a-z])\)", line):
                found[reader][number, mark[2]] = int(mark[1])
    return found


def score(arguments: argparse.Namespace) -> None:
    """Shares of each mark by system; of several readers the mean."""
    key = json.loads((arguments.folder / "key.json").read_text())["key"]
    readers = marks_of(arguments.folder)
    systems = sorted({name for row in key.values() for _, *names in row.values() for name in names})
    marks: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in systems}  # by prompt, a mark a reader
    for reader in readers.values():
        for (number, letter), mark in reader.items():
            for name in key[number][letter][1:]:
                marks[name][number].append(mark)
    print(f"{'system':16}{'specific':>9}{'dull':>7}{'odd':>7}{'broken':>8}{'sensible':>10}{'mean':>7}{'replies':>9}")
    for name in systems:
        given = list(itertools.chain.from_iterable(marks[name].values()))
        shares = Counter(given)
        share = {mark: shares[mark] / max(1, len(given)) for mark in MARKS}
        columns = "".join(f"{share[mark]:{width}.0%}" for mark, width in zip(MARKS, (9, 7, 7, 8), strict=True))
        mean = statistics.fmean(given) if given else 0.0
        print(f"{name:16}{columns}{share[2] + share[1]:10.0%}{mean:7.2f}{len(marks[name]):9}")
        if arguments.against and name != arguments.against:
            sides = [
                statistics.fmean(marks[name][number]) - statistics.fmean(marks[arguments.against][number])
                for number in marks[name].keys() & marks[arguments.against].keys()
            ]
            better, worse = sum(side > 0 for side in sides), sum(side < 0 for side in sides)
            print(f"{'':16}preferred to {arguments.against} {better} to {worse}, ties {len(sides) - better - worse}")
    if len(readers) > 1:
        both = [
            (one[place], other[place])
            for one, other in itertools.combinations(readers.values(), 2)
            for place in one.keys() & other.keys()
        ]
        same = sum(one == other for one, other in both)
        print(f"readers {', '.join(readers)}: the same mark for {same} of {len(both)} replies that both read")


if __name__ == "__main__":
    main()
