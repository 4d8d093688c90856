"""Words to ids and back, in memory and on disk."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.corpus.vocabulary import EOS_ID, PAD, PAD_ID, SEP, SOS_ID, UNK, Vocabulary
from chatbot.system.errors import ChatbotError, printable

CHARACTERS = st.characters(blacklist_characters="<", codec="utf-8").filter(lambda c: printable(c) == c)
WORDS = st.lists(st.text(CHARACTERS, max_size=8), unique=True)


def test_special_tokens_come_first_and_only_those_that_are_learnt() -> None:
    plain = Vocabulary.from_words(["a"], unknown=False, separator=False)
    assert plain.tokens == [PAD, "<sos>", "<eos>", "a"]
    assert (plain.unk_id, plain.sep_id, plain.num_special, plain.never_replied) == (None, None, 3, [PAD_ID, SOS_ID])
    both = Vocabulary.from_words(["a"], unknown=True, separator=True)
    assert both.tokens[3:] == [UNK, SEP, "a"]
    assert (both.unk_id, both.sep_id, both.num_special, both.never_replied) == (3, 4, 5, [PAD_ID, SOS_ID, 3, 4])


def test_unknown_words_become_unk_or_are_left_out() -> None:
    words = ["a", "zebra", "b"]
    assert Vocabulary.from_words("ab", unknown=True, separator=False).encode(words) == [4, 3, 5]
    assert Vocabulary.from_words("ab", unknown=False, separator=False).encode(words) == [3, 4]
    assert Vocabulary.from_words("ab", unknown=True, separator=False).unknown([*words, "zebra"]) == ["zebra"]


def test_decoding_stops_at_eos_and_leaves_special_tokens_out() -> None:
    vocabulary = Vocabulary.from_words("ab", unknown=True, separator=True)
    assert vocabulary.decode([SOS_ID, 5, 3, 4, PAD_ID, 6, EOS_ID, 5]) == ["a", "b"]


@settings(deadline=None)
@given(words=WORDS, unknown=st.booleans(), separator=st.booleans())
def test_ids_and_words_are_a_bijection(words: list[str], unknown: bool, separator: bool) -> None:
    vocabulary = Vocabulary.from_words(words, unknown=unknown, separator=separator)
    ids = vocabulary.encode(words)
    assert ids == list(range(vocabulary.num_special, len(vocabulary)))
    assert vocabulary.decode(ids) == words


@pytest.mark.parametrize("words", [[], ["a", "b"], ["", "a"], ["\xa0", "\u200c", "\u3000", " "]])
def test_what_is_saved_is_loaded(tmp_path: Path, words: list[str]) -> None:
    vocabulary = Vocabulary.from_words(words, unknown=True, separator=False)
    vocabulary.save(tmp_path / "vocabulary.txt")
    assert Vocabulary.load(tmp_path / "vocabulary.txt").tokens == vocabulary.tokens
    assert (tmp_path / "vocabulary.txt").read_bytes().count(b"\n") == len(vocabulary)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "must begin with"),
        (b"hello\nworld\n", "must begin with"),
        (b"<pad>\n<sos>\n<eos>\na\na\n", "'a' stands in it twice"),
        (b"<pad>\n<sos>\n<eos>\n\xff\n", "cannot read the vocabulary"),
        (None, "cannot read the vocabulary"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "vocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ChatbotError, match=says) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_a_token_that_would_steer_a_terminal_is_refused(character: str) -> None:
    with pytest.raises(ChatbotError, match="line break or another control character"):
        Vocabulary.from_words([f"a{character}b"], unknown=False, separator=False)
