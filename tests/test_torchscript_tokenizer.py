"""Text in TorchScript is what it is in Python: every code point, any text, any bytes, any words."""

import itertools
import random
import sys
import unicodedata
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from chatbot.corpus.tokenizer import MAX_CHARACTERS, MAX_WORDS, TOKENIZERS
from chatbot.deployment import torchscript_tokenizer as room
from chatbot.deployment.torchscript_tokenizer import (
    TorchScriptTokenizer,
    table_sha256,
    torchscript_tokenizer,
)
from chatbot.deployment.utf8 import last_characters, utf8_bytes, utf8_character

# what upstream says of torch.jit's future
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`torch\.jit\.\w+` is:DeprecationWarning", r"ignore:`torch\.jit\.\w+` is:FutureWarning"
)

NAMES, ASCII_NAMES = sorted(TOKENIZERS), ["english", "tutorial"]
IN_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789'.,!?:")
CODE_POINTS = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]

PIECES = ["n't", "'s", "'m", "'re", "'ve", "'ll", "'d", "'", "''", "'t", "don't", "its", "o'clock", "a'", "n", "s", "i"]
NUMBERS = ["1", "2,3", "5:30", "2nd", "0.", ":4"]
PUNCTUATION = [".", "..", "...", ",", ",,", "!", "!!", "?", ":"]
ENGLISH = [*PIECES, *NUMBERS, *PUNCTUATION]
MARKUP = ["<i>", "</b>", "<", ">", "/", "<abcdefghij>", "<abcdefghijk>", "<é>", "\uff1ci>"]
MARKS = "\u0300\u0301\u0307\u0338\u3099\u20dd\u1b44\u302e\U0001d165"  # dropped or not, and reordered in NFD
COMPOSED = "éÑİıſßΣςKÅÆø\u1100\u1161\u11a8\uac00\uac01\u09c7\u09be\u1e9b\u1fc1"
COMPATIBLE = "\ufb01\ufb03\uff21\uff07\uff0e\uff01½№⑴…‥\u2024\u2032ー\u037e\ufdfa\u1d2c㎏"
APOSTROPHES = "‘’‛ʼʹ´`"
LANGUAGES = "ßẞĲſǆჯᲯ你吗、。？「ガｶﾞーสำ์کी़्क़أ\u0640،؟।¿¡«»„“”\"—–()/··…😂👍🏽🇪🇸€٣②㈱ᄒ\u1112\u1161\u11abㅋ\u200c'-"
OTHERS = "\u200b\u200d\ufe0f\U0001f468\U0001f469\ufffd\ufeff\u2028\x85\xa0\x1c\x00\t\r\n \u3000\U0010ffff\ue000"

TEXT = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    | st.text("ant'sm.,!?:015<i>/ `", max_size=30)
    | st.lists(st.sampled_from(ENGLISH), max_size=20).map("".join)
    | st.lists(
        st.sampled_from([*ENGLISH, *MARKUP, *MARKS, *COMPOSED, *COMPATIBLE, *APOSTROPHES, *LANGUAGES, *OTHERS]),
        max_size=25,
    ).map("".join)
)
BEGINNINGS = bytes.fromhex("00 20 41 7f c0 c1 c2 c3 df e0 e2 ed ef f0 f3 f4 f5 ff")
CONTINUATIONS = bytes.fromhex("80 8f 90 99 9f a0 a8 bf")
BYTES = (
    st.binary(max_size=30)
    | st.lists(st.sampled_from(BEGINNINGS + 2 * CONTINUATIONS), max_size=24).map(bytes)
    | st.tuples(TEXT, st.integers(0, 40), st.integers(0, 40)).map(
        lambda cut: cut[0].encode()[cut[1] :][: -cut[2] or None]
    )
)
# the tokenizer's words, and what a vocabulary of other making may hold
WORDS = st.lists(
    st.sampled_from([*ENGLISH, "a'b", "i'ma", "robin", "can", "not"])
    | st.from_regex(r"[a-z']{0,5}", fullmatch=True)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    | st.sampled_from([*LANGUAGES, "……", "что-то", "ок", "été", "3,5"]),
    max_size=15,
)


class Client(nn.Module):
    """What a bundle asks of its tokenizer, and text of any bytes, which Python cannot hand over."""

    def __init__(self, name: str, max_characters: int = MAX_CHARACTERS, max_words: int = MAX_WORDS) -> None:
        super().__init__()
        self.tokenizer = torchscript_tokenizer(name)
        self.tokenizer.max_characters, self.tokenizer.max_words = max_characters, max_words

    def forward(self, text: str) -> list[str]:
        return self.tokenizer(text)

    @torch.jit.export
    def last_words(self, text: str) -> list[str]:
        return self.tokenizer.last_words(text)

    @torch.jit.export
    def words_of_bytes(self, data: list[int]) -> list[str]:
        return self.tokenizer("".join([chr(byte) for byte in data]))

    @torch.jit.export
    def last_words_of_bytes(self, data: list[int]) -> list[str]:
        return self.tokenizer.last_words("".join([chr(byte) for byte in data]))

    @torch.jit.export
    def text(self, words: list[str], written: dict[str, str]) -> str:
        return self.tokenizer.text(words, written)


@pytest.fixture(scope="module")
def clients() -> dict[str, torch.jit.ScriptModule]:
    """A scripted client of each tokenizer."""
    return {name: torch.jit.script(Client(name)) for name in NAMES}


@pytest.fixture(scope="module")
def short_sighted() -> dict[str, torch.jit.ScriptModule]:
    """The same, reading at most the last 3 words of the last 7 code points."""
    return {name: torch.jit.script(Client(name, 7, 3)) for name in NAMES}


def in_ascii(text: str) -> str:
    """Folded text with a space for what no word holds."""
    return "".join(c if c in IN_WORDS else " " for c in text)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_code_point_between_letters_is_read_as_in_python(
    name: str, clients: dict[str, torch.jit.ScriptModule]
) -> None:
    """In runs of 64, so that a wrong neighbour shows too: each is a letter, white space, nothing, or stands between."""
    for start in range(0, len(CODE_POINTS), 1 << 14):
        characters = list(map(chr, CODE_POINTS[start : start + (1 << 14)]))
        runs = ["a".join(["a", *characters[at : at + 64], "a"]) for at in range(0, len(characters), 64)]
        text = " ".join(runs)
        if clients[name](text) != TOKENIZERS[name].tokenize(text):
            wrong = [run for run in runs if clients[name](run) != TOKENIZERS[name].tokenize(run)]
            raise AssertionError(f"{name}: {wrong[:1]!a}")


@pytest.mark.parametrize("name", NAMES)
def test_code_points_alone_are_read_as_in_python(name: str, clients: dict[str, torch.jit.ScriptModule]) -> None:
    """Each in a call of its own: those that are more than a space, and of the rest one in 97."""
    client, tokenize = clients[name], TOKENIZERS[name].tokenize
    folds = torchscript_tokenizer(name).folds
    for code in [*range(128), *folds, *CODE_POINTS[128::97]]:
        assert client(chr(code)) == tokenize(chr(code)), hex(code)


@pytest.mark.parametrize("name", ASCII_NAMES)
def test_a_character_is_read_the_same_beside_any_other(name: str) -> None:
    """Why a table by code points can say all that the Python tokenizer does with Unicode."""
    fold = TOKENIZERS[name].fold
    combining = [code for code in CODE_POINTS if unicodedata.combining(chr(code))]
    jamo = [*range(0x1100, 0x1200), *range(0xA960, 0xA980), *range(0xAC00, 0xAC40), *range(0xD7B0, 0xD800)]
    odd = [
        *map(chr, [*range(128), *TorchScriptTokenizer(name).folds, *combining, *jamo]),
        *COMPOSED,
        *COMPATIBLE,
        *OTHERS,
    ]
    rng = random.Random(5)
    for _ in range(20_000):
        text = "".join(rng.choices(odd, k=rng.randint(2, 5)))
        apart = [in_ascii(fold(character)) for character in text]
        assert in_ascii(fold(text)).split() == "".join(apart).split(), ascii(text)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=400)
@given(text=TEXT)
@example(text="1,,2 1,,,2:3")
@example(text="<abcdefghij><abcdefghijk></abcdefghij></abcdefghijk>")
def test_any_text_gives_the_words_that_python_finds(
    name: str, text: str, clients: dict[str, torch.jit.ScriptModule]
) -> None:
    words = clients[name](text)
    assert words == TOKENIZERS[name].tokenize(text)
    assert clients[name](" ".join(words)) == words


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=300)
@given(data=BYTES)
def test_bytes_that_are_not_utf8_are_read_as_python_replaces_them(
    name: str, data: bytes, clients: dict[str, torch.jit.ScriptModule]
) -> None:
    assert clients[name].words_of_bytes(list(data)) == TOKENIZERS[name].tokenize(data.decode("utf-8", "replace"))


def test_every_kind_of_broken_utf8_is_as_wide_as_in_python() -> None:
    every = BEGINNINGS + CONTINUATIONS
    leads = [0xE0, 0xED, 0xEF, 0xF0, 0xF3, 0xF4]
    kinds = itertools.chain(itertools.product(range(256), range(256)), itertools.product(leads, every, every, every))
    for kind in kinds:
        data, decoded, at = utf8_bytes(bytes(kind).decode("latin-1")), [], 0
        while at < len(kind):
            code, width = utf8_character(data, at)
            decoded.append(code)
            at += width
        assert decoded == list(map(ord, bytes(kind).decode("utf-8", "replace"))), bytes(kind)
        assert at == len(kind), bytes(kind)


@settings(deadline=None, max_examples=400)
@given(data=BYTES, before=st.binary(max_size=12), count=st.integers(1, 9))
def test_the_last_code_points_are_those_of_the_whole_text(data: bytes, before: bytes, count: int) -> None:
    data = before + data
    end = last_characters(data.decode("latin-1"), count).encode("latin-1")
    assert end.decode("utf-8", "replace") == data.decode("utf-8", "replace")[-count:]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=300)
@given(data=BYTES)
def test_what_is_read_of_a_prompt_is_bounded_as_in_python(
    name: str, data: bytes, short_sighted: dict[str, torch.jit.ScriptModule]
) -> None:
    expected = TOKENIZERS[name].tokenize(data.decode("utf-8", "replace")[-7:])[-3:]
    assert short_sighted[name].last_words_of_bytes(list(data)) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["no " * 4_000_000, "é!" * 9_000, "\U0001f600a" * 6_000, "a" * 10_001, "<i>" * 9_999])
def test_long_lines_are_read_from_their_end(name: str, text: str, clients: dict[str, torch.jit.ScriptModule]) -> None:
    assert clients[name].last_words(text) == TOKENIZERS[name].tokenize(text[-MAX_CHARACTERS:])[-MAX_WORDS:]


@pytest.mark.parametrize("name", NAMES)
def test_a_lone_surrogate_never_gets_in(name: str, clients: dict[str, torch.jit.ScriptModule]) -> None:
    text = "no\ud83dno"
    with pytest.raises(RuntimeError, match="Expected a value of type 'str'"):
        clients[name](text)
    replaced = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert clients[name](replaced) == TOKENIZERS[name].tokenize(text) == ["no", "no"]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=400)
@given(words=WORDS, form=st.sampled_from([str.upper, str.title, str.swapcase]), every=st.integers(1, 3))
def test_any_words_give_the_text_that_python_writes(
    name: str,
    words: list[str],
    form: Callable[[str], str],
    every: int,
    clients: dict[str, torch.jit.ScriptModule],
) -> None:
    written = {word: form(word) for word in words[::every] if word}
    for forms in ({}, written):
        assert clients[name].text(words, forms) == TOKENIZERS[name].detokenize(words, forms)


def test_the_fingerprint_tells_tables_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = TorchScriptTokenizer("english"), TorchScriptTokenizer("english")
    room._fold_table.cache_clear()
    assert table_sha256(first) == table_sha256(again) == table_sha256(TorchScriptTokenizer("english"))
    others = [table_sha256(torchscript_tokenizer(name)) for name in NAMES]
    assert len({table_sha256(first), *others}) == len(NAMES)
    again.folds[0x1F600] = "smile"
    assert table_sha256(first) != table_sha256(again)
    again.folds.pop(0x1F600)
    again.ascii[0x60] = " "
    assert table_sha256(first) != table_sha256(again)
