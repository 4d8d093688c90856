"""Text to words and back: the lineage's normaliser letter for letter, and English that reads as English."""

import itertools
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nltk.tokenize import TreebankWordDetokenizer

from chatbot.corpus import tokenizer
from chatbot.corpus.tokenizer import TOKENIZERS, EnglishTokenizer, TutorialTokenizer

ENGLISH, TUTORIAL = EnglishTokenizer(), TutorialTokenizer()
# plain text, and text dense with what the rules are about
LANGUAGES = "ßẞĲſǆჯᲯ你吗、。？「ガｶﾞーสำ์کी़्क़أ\u0640،؟।¿¡«»„“”\"—–()/··…😂👍🏽🇪🇸€٣②㈱\u1112\u1161\u11abㅋ\u200c\u200d'-. "
TEXT = (
    st.text(max_size=60)
    | st.text(LANGUAGES, max_size=30)
    | st.text("aBn't\u2019s.,!?…<i>/ \t\n\x85\xa0é1:0\u0301İß", max_size=30)
)


def normalised(text: str) -> list[str]:
    """The lineage's normaliser as its tutorial words it: decompose, set marks apart, drop the rest."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower().strip()) if unicodedata.category(c) != "Mn")
    text = re.sub(r"([.!?])", r" \1", text)
    return re.sub(r"\s+", " ", re.sub(r"[^a-zA-Z.!?]+", " ", text)).strip().split()


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=TEXT)
def test_any_text_gives_words_that_are_stable_and_without_white_space(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    words = tokenizer.tokenize(text)
    assert all(word and not re.search(r"\s", word) for word in words)
    if not name.startswith("unicode"):
        assert all(word.isascii() and word == word.lower() for word in words)
    assert tokenizer.tokenize(" ".join(words)) == words
    tokenizer.detokenize(words)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=st.text("ab'n.,!? <>0", max_size=40))
def test_no_word_reaches_over_a_space(name: str, text: str) -> None:
    """What lets preparation look at the beginning of a long line only."""
    tokenize = TOKENIZERS[name].tokenize
    assert tokenize(text) == [word for run in text.split(" ") for word in tokenize(run)]


@settings(deadline=None)
@given(TEXT)
def test_tutorial_normalises_as_the_lineage_does(text: str) -> None:
    assert TUTORIAL.tokenize(text) == normalised(text)


def test_tutorial_normalises_every_code_point_as_the_lineage_does() -> None:
    """In runs of 64 between letters, so that a wrong neighbour shows too."""
    for start in range(0, sys.maxunicode + 1, 64):
        text = "".join(f"a{chr(code)}" for code in range(start, start + 64))
        assert TUTORIAL.tokenize(text) == normalised(text), hex(start)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", "hello world !"),
        ("Élan -- déjà vu...", "elan deja vu . . ."),
        ("123", ""),
        ("You're 21?", "you re ?"),
    ],
)
def test_tutorial_keeps_letters_and_three_marks(text: str, words: str) -> None:
    assert TUTORIAL.tokenize(text) == words.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'm fine, thanks.", "i 'm fine , thanks ."),
        ("I don\u2019t know", "i do n't know"),
        ("Can't we?!", "ca n't we ? !"),
        ("It's 5:30 o'clock", "it 's 5:30 o'clock"),
        ("Wait.... what?!!", "wait ... what ? !"),
        ("<i>No</i>--never", "no never"),
        ("café №5", "cafe no 5"),
        ("\ud83d\ude00", ""),
        ("they've we'll he'd", "they 've we 'll he 'd"),
        ("don't1 it's2", "do n't 1 it 's 2"),
        ("it`s and é it`s", "it 's and e it 's"),
        ("o'clock's o'don't n't 's2", "o'clock 's o'don't n't 's 2"),
    ],
)
def test_english_words(text: str, words: str) -> None:
    assert ENGLISH.tokenize(text) == words.split()


@pytest.mark.parametrize(
    "text",
    [
        "I'm fine, thanks.",
        "Hello! How are you?",
        "I don't know, it's 5:30.",
        "Well... I can't, and they won't.",
        "We've been there, haven't we?",
        "You'll see that I'd go.",
        "Yes, the dog's bowl is empty!",
    ],
)
def test_english_reads_as_english_after_a_round_trip(text: str) -> None:
    assert ENGLISH.detokenize(ENGLISH.tokenize(text)) == text


WORD = st.sampled_from(["yes", "no", "we", "go", "there", "2", "3.14", "you're", "don't", "he'll", "they've"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(WORD, min_size=1, max_size=6), st.sampled_from(".!?")), min_size=1, max_size=4))
def test_well_formed_sentences_survive_a_round_trip(sentences: list[tuple[list[str], str]]) -> None:
    text = " ".join(" ".join(words) + mark for words, mark in sentences)
    assert ENGLISH.detokenize(ENGLISH.tokenize(text)).lower() == text


SPACED = st.sampled_from(
    ["i", "do", "n't", "'s", "'d", "o'clock", "5", "3.14", ".", "...", ",", "!", "?", "can", "not"]
)


@settings(deadline=None, max_examples=300)
@given(TEXT | st.lists(SPACED).map(" ".join))
def test_the_words_of_what_is_written_are_the_words_it_was_written_from(text: str) -> None:
    words = ENGLISH.tokenize(text)
    for previous, word in itertools.pairwise(words):
        assume(not (word == previous and word in (",", "!", "?")) and not (word == "n't" and not previous.isalpha()))
    assert ENGLISH.tokenize(ENGLISH.detokenize(words)) == words


def test_the_answers_of_the_sample_corpus_are_written_as_they_are_read() -> None:
    files = sorted((Path(__file__).parent.parent / "data" / "sample").glob("*.txt"))
    lines = [line for file in files for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) > 1000
    for line in lines:
        words = ENGLISH.tokenize(line.removeprefix("> "))
        assert ENGLISH.tokenize(ENGLISH.detokenize(words)) == words
        if not line.startswith("> "):
            # all but capitals, hyphens, and colons that stand in no number
            expected = " ".join(re.sub(r"[^a-z0-9'.,!?: ]|:(?!\d)", " ", line.lower()).split())
            assert ENGLISH.detokenize(words).lower() == expected


def treebank(words: list[str]) -> str:
    """Words spaced by nltk, with capitals for what begins a sentence and for I."""
    text = TreebankWordDetokenizer().detokenize(words)
    text = re.sub(r"(?<=[A-Za-z0-9']) \.(?= |$)", ".", text)  # before nltk 3.9.2 only the last full stop is moved
    text = re.sub(r"(?<=[a-z0-9']) ('(?:s|m|re|ve|ll|d)|n't)(?![a-z0-9])", r"\1", text)  # do n't 've
    text = re.sub(r"\.\.\.(?=[a-z0-9])", "... ", re.sub(r"(?<=[a-z0-9]) \.\.\.", "...", text))
    text = re.sub(r"(?<![a-z0-9'])i(?![a-z0-9])", "I", text)
    return re.sub(r"(?:^|(?<!\.\.)[.!?] )[a-z]", lambda match: match[0].upper(), text)


PHRASE = st.sampled_from(["i", "i'm", "yes", "don't", "he'll've", "the dog's", "2nd", "5:30", "o'clock", "wouldn't've"])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.lists(PHRASE, min_size=1, max_size=5), st.sampled_from([".", "!", "?", "?!", "...", ","])))
)
def test_well_formed_sentences_are_spaced_as_by_the_treebank_detokenizer(parts: list[tuple[list[str], str]]) -> None:
    words = ENGLISH.tokenize(" ".join(" ".join(phrases) + mark for phrases, mark in parts))
    assert ENGLISH.detokenize(words) == treebank(words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", ""),
        ("'s it .", "'s it."),
        ("no ! ! ok", "No!! Ok"),
        ("you can not . ... no", "You can not. ... no"),
        ("what ... ? ... go", "What...?... go"),
        ("i'ma go , i 'd", "I'ma go, I'd"),
        ("... well", "... well"),
    ],
)
def test_what_is_no_sentence_is_written_plainly(words: str, text: str) -> None:
    assert ENGLISH.detokenize(words.split()) == text


def test_a_million_characters_without_a_space_are_no_trouble() -> None:
    assert ENGLISH.tokenize("ha" * 500_000) == ["ha" * 500_000]
    assert len(ENGLISH.tokenize("!?" * 100_000)) == 200_000


def test_what_is_remembered_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = tokenizer._Runs({str(number): () for number in range(1 << 17)})
    monkeypatch.setattr(tokenizer, "_words_of_run", remembered)
    assert ENGLISH.tokenize("hello there " + "x" * 50) == ["hello", "there", "x" * 50]
    assert len(remembered) == 2
