"""The page reads and writes text exactly as Python does: its tables are Python's, and so are its answers."""

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from chatbot.corpus.mending import in_other_capitals
from chatbot.corpus.tokenizer import TOKENIZERS, last_words
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.proof import HARD_TEXTS
from chatbot.deployment.web_facts import READABLE, text_facts
from chatbot.system.errors import ChatbotError

ENGINE = Path(__file__).parents[1] / "chatbot" / "serving" / "engine"
NODE = shutil.which("node")
WORDS = [
    *(",", ".", "!", "?", "...", "n't", "'s", "'m", "'ll", "i", "i'm", "do", "can", "boston", "iphone", "5:30", "2nd"),
    *("rock'n'roll", "constructor", "__proto__", '"', "(", "¿", "你", "。", "ß", "ǆ", "-", "مرحبا"),
]
VOCABULARY = Vocabulary.from_words(
    WORDS, unknown=True, separator=True, written={"boston": "Boston", "iphone": "iPhone"}
)
PIECES = some.sampled_from(
    [
        "'",
        "’",
        "«",
        "한",
        "\u1112\u1161",
        "e\u0301",
        "क्",
        "ไทย",
        "。",
        "\u200d",
        "👩",
        "-",
        "٣",
        "n't",
        "<i>",
        "</b",
        ".",
        "..",
        ",,",
        "!?",
        "1",
        "2:30",
        "a",
        "É",
        "😀",
        " ",
        "\t",
        "ß",
    ]
)
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node.js (Debian: apt-get install nodejs)")


def in_node(tokenizer: str, texts: list[str], sentences: list[list[str]]) -> Any:
    facts = text_facts(TOKENIZERS[tokenizer], VOCABULARY)
    given = {"facts": facts, "written": VOCABULARY.written, "texts": texts, "sentences": sentences}
    command = [str(NODE), str(ENGINE.parents[2] / "tests" / "web" / "texts.mjs"), str(ENGINE)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("tokenizer", READABLE)
def test_every_code_point_and_every_text_is_read_as_python_reads_it(tokenizer: str) -> None:
    texts = [
        *HARD_TEXTS,
        *languages(),
        "\ud800 lone \udc00",
        "x" * 9_999 + " 😀b",
        "😀" * 10_001 + " yes",
        *generated(),
    ]
    sentences = [list(words) for count in (1, 2, 3) for words in itertools.product(WORDS, repeat=count)]
    found = in_node(tokenizer, texts, sentences)
    python = TOKENIZERS[tokenizer]
    assert found["words"] == [last_words(python, text) for text in texts]
    if tokenizer == "unicode-cased":
        every = {word for words in found["words"] for word in words}
        assert {word: in_other_capitals(word) for word in every} == found["capitals"]
    assert found["written"] == [python.detokenize(words, VOCABULARY.written) for words in sentences]
    for start, digest in zip(range(0, 0x110000, 4096), found["blocks"], strict=True):
        block = " ".join(f"{c}a{c} b{c}b" for c in map(chr, range(start, start + 4096)))
        wanted = hashlib.sha256(" ".join(python.tokenize(block)).encode()).hexdigest()
        assert digest == wanted, f"U+{start:04X} to U+{start + 4095:04X}"


def languages() -> list[str]:
    """Everyday sentences of seven languages, also without their spaces, and with letters and accents apart."""
    folder = Path(__file__).parent / "languages"
    texts = [text for file in sorted(folder.glob("*.tsv")) for text in re.split(r"[\t\n]", file.read_text("utf-8"))]
    assert len(texts) > 800
    return [*texts, *("".join(text.split()) for text in texts), *(unicodedata.normalize("NFD", text) for text in texts)]


def generated() -> list[str]:
    """Texts that tokenizers stumble over."""
    texts: list[str] = []

    @settings(max_examples=400, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(some.lists(PIECES | some.text(max_size=3), max_size=12))
    def add(pieces: list[str]) -> None:
        texts.append("".join(pieces))

    add()
    return texts


def test_a_tokenizer_that_the_page_cannot_be_is_refused_by_its_name() -> None:
    class Other(type(TOKENIZERS["english"])):  # type: ignore[misc]
        name = "klingon"

    with pytest.raises(ChatbotError, match="cannot read text as the tokenizer 'klingon' does, only as english or"):
        text_facts(Other(), VOCABULARY)
