"""The sample corpus: written as its README says, and read as it is written."""

import dataclasses
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from test_preparation import decoded

from chatbot.config.presets import PRESETS
from chatbot.config.settings import CorpusConfig
from chatbot.corpus.figures import SPLITS
from chatbot.corpus.formats.recognise import dialogues, recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.preparation import prepare
from chatbot.corpus.reading import Reading
from chatbot.corpus.sources import SAMPLE
from chatbot.corpus.tokenizer import TOKENIZERS

FILES = sorted(path for path in SAMPLE.iterdir() if path.name != "README.md")
README = (SAMPLE / "README.md").read_text()


def conversations(path: Path) -> list[list[str]]:
    """The lines of each conversation of a file, by its blank lines alone."""
    return [talk.split("\n") for talk in path.read_text().removesuffix("\n").split("\n\n")]


def test_the_readme_names_every_file() -> None:
    named = re.findall(r"`(\w+\.txt)`", README)
    assert sorted(named) == [path.name for path in FILES]
    assert {path.suffix for path in FILES} == {".txt"}
    assert re.search(r"^## Licence\n\nDedicated to the public domain under\n\[CC0 1\.0\]", README, flags=re.MULTILINE)
    assert not re.search(r"\d{3}", README.replace("CC0 1.0", "")), "no number that would go stale"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_visitor_and_bot_take_turns_in_plain_text(path: Path) -> None:
    text = path.read_text(encoding="ascii", errors="strict")
    assert "\t" not in text
    assert b"\r" not in path.read_bytes()
    for talk in conversations(path):
        assert len(talk) % 2 == 0, talk
        for number, line in enumerate(talk):
            assert line.startswith("> ") == (number % 2 == 0), talk
            assert " ".join(line.split()) == line, talk
    answers = [line for talk in conversations(path) for line in talk[1::2]]
    assert all(re.fullmatch(r"[A-Z0-9].*[.!?]", answer) for answer in answers), "whole sentences"


def test_the_example_of_the_readme_stands_in_the_corpus() -> None:
    example = [line[4:] for line in README.splitlines() if line.startswith("    ")]
    assert {line for line in example if not line.startswith("> ")} <= {
        line for path in FILES for talk in conversations(path) for line in talk
    }


def test_all_of_it_is_read_and_only_answers_are_learnt(tmp_path: Path) -> None:
    format, files = recognise(input_files(SAMPLE)[0], "auto", "sample")
    account = Reading()
    found = list(dialogues(format, files, account))
    assert (format, account.bad, account.recoded) == ("transcript", 0, 0)
    written = [talk for path in FILES for talk in conversations(path)]
    assert [talk.turns for talk in found] == [[line.removeprefix("> ") for line in talk] for talk in written]
    assert all(talk.answers == [False, True] * (len(talk.turns) // 2) for talk in found)
    done = prepare(CorpusConfig(corpus="sample", min_count=1, split=(1, 0, 0), max_length=1000), tmp_path)
    assert done.figures["conversations"] == len(written)
    assert done.figures["pairs_read"] == sum(len(talk) // 2 for talk in written)
    tokenize = TOKENIZERS["english"].tokenize
    pairs = [(line, answer) for talk in written for line, answer in zip(talk[::2], talk[1::2], strict=True)]
    words = [(" ".join(tokenize(line[2:])), " ".join(tokenize(answer))) for line, answer in pairs]
    assert decoded(done, "train") == [pair for pair in words if all(pair)]


def test_what_is_held_out_are_phrasings_that_begin_no_conversation_of_training(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["sample"].corpus, split=(0.8, 0.1, 0.1))
    done = prepare(config, tmp_path)
    [source] = done.figures["sources"]
    assert (source["split_by"], source["format_read"]) == ("conversation", "transcript")
    tokenize = TOKENIZERS["english"].tokenize
    # by the first exchange of a conversation, which no other conversation has
    exchanges: dict[tuple[str, str], set[str]] = defaultdict(set)
    everywhere: set[tuple[str, str]] = set()
    for path in FILES:
        for talk in conversations(path):
            said = [" ".join(tokenize(line.removeprefix("> "))) for line in talk]
            exchanges[said[0], said[1]].add(" ".join(talk[0][2:].lower().split()))
            everywhere |= set(zip(said[2::2], said[3::2], strict=True))
    sides: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        pairs = decoded(done, split)
        assert len(pairs) > 0.05 * done.figures["pairs_kept"]
        for pair in pairs:
            if len(exchanges.get(pair, ())) == 1 and pair not in everywhere:
                sides[next(iter(exchanges[pair]))].add(split)
    assert len(sides) > 1000
    assert all(len(side) == 1 for side in sides.values())
    begins = Counter(text for texts in exchanges.values() for text in texts)
    several = [text for text in sides if begins[text] > 1]
    assert several, "there are questions that begin more than one conversation"
