"""Unknown words are read as the known ones that they are other spellings of: helo, soooo, pls, dont, manana.

A word that the vocabulary lacks is tried, in this order, as

1. what a short table has for it (`OTHER_SPELLINGS`): u, r, pls; dont; marks of other scripts;
2. itself in other capitals, where a vocabulary has capitals;
3. the frequent word that it is without accents, or with an e for an umlaut (`plain_spellings`);
4. itself with fewer of a letter that stands there three times or more;
5. the most frequent of the frequent words that are one edit away: a letter too many, missing, another, or two exchanged
   (Damerau 1964, *A technique for computer detection and correction of spelling errors*). The first letter stays, for
   slips are rare there, unless it is one of the two that are exchanged.

The first that is known is taken; if there is none, the word stays unknown. Frequent are the first words of the
vocabulary, which has them in the order of their frequency. A vocabulary's words themselves are never changed.

`mended` and what it calls are compiled by TorchScript too. What they read besides a word (`Spellings`) is plain data,
so that any runtime can do the same.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from .characters import kind_of, small, title
from .tokenizer import MAX_WORDS, Tokenizer
from .vocabulary import Vocabulary

FREQUENT = 5000  # words that an edit may lead to
LARGEST_ALPHABET = 100
_SHORT = """u=you ur=your r=are y=why pls=please plz=please pleas=please thx=thanks tx=thanks
thnx=thanks ty=thank+you np=no+problem idk=i+do+n't+know idk=i+don't+know omg=oh+my+god gonna=going+to wanna=want+to
gotta=got+to gimme=give+me lemme=let+me kinda=kind+of dunno=do+n't+know dunno=don't+know cuz=because cos=because
coz=because bc=because tho=though thru=through ppl=people msg=message tmrw=tomorrow tmr=tomorrow 2day=today
2nite=tonight gr8=great l8r=later b4=before alot=a+lot ya=you wat=what wut=what"""
_NEGATED = "do does did is are was were have has had could should would ca wo"
_SHORTENED = "i=m i=ve i=d i=ll he=s she=s that=s what=s where=s who=s how=s there=s here=s let=s it=s you=re you=ve"
_MARKS = "?=？؟ !=！ ,=，、، .=。।۔ :=： ;=；؛ ？=? ؟=? ！=! ，=,、 、=,， ،=, 。=. ।=.。 ۔=. ：=: ；=; ؛=; …=."


def _table() -> dict[str, list[str]]:
    """Words, and the ways to write each: known words with spaces between them."""
    found: dict[str, list[str]] = {}

    def add(word: str, *ways: str) -> None:
        found.setdefault(word, []).extend(ways)

    for row in _SHORT.split():
        word, _, way = row.partition("=")
        add(word, way.replace("+", " "))
    for verb in _NEGATED.split():
        add(f"{verb}nt", f"{verb} n't", f"{verb}n't")
    for row in [*_SHORTENED.split(), *(f"{who}={what}" for who in ("we", "they") for what in ("re", "ve", "ll"))]:
        who, _, what = row.partition("=")
        add(who + what, f"{who} '{what}", f"{who}'{what}")
    for row in _MARKS.split():
        mark, _, others = row.partition("=")
        add(mark, *others)
    for dots in ("...", "…", "……"):
        add(dots, *{"...": ("…", "……"), "…": ("...", "……"), "……": ("…", "...")}[dots])
    return found


OTHER_SPELLINGS = _table()


class Spellings(NamedTuple):
    """What unknown words are compared with, as plain data.

    ids: of all words. first, end: ids of the frequent words. alphabet: the letters that frequent words have.
    short: `OTHER_SPELLINGS`. plain: frequent words by how they are written without accents. cased: whether there are
    words with capitals.
    """

    ids: dict[str, int]
    first: int
    end: int
    alphabet: list[str]
    short: dict[str, list[str]]
    plain: dict[str, str]
    cased: bool

    @classmethod
    def of(cls, vocabulary: Vocabulary, tokenizer: Tokenizer) -> "Spellings":
        """Those of a vocabulary whose words this tokenizer makes."""
        first = vocabulary.num_special
        frequent = vocabulary.tokens[first : first + FREQUENT]
        letters = dict.fromkeys(letter for word in frequent if len(word) > 1 for letter in word)
        alphabet = [letter for letter in letters if kind_of(letter) in ("letter", "extending")][:LARGEST_ALPHABET]
        plain: dict[str, str] = {}
        for word in frequent:
            for spelling in plain_spellings(word):
                plain.setdefault(spelling, word)
        end = first + len(frequent)
        return cls(
            vocabulary.ids,
            first,
            end,
            alphabet,
            OTHER_SPELLINGS,
            plain,
            tokenizer.name == "unicode-cased",
        )

    def read(self, words: Sequence[str]) -> list[str]:
        """Words as they are read: those that are unknown by another spelling, where there is one that is known."""
        found: list[str] = []
        for word in words:
            if word in self.ids:
                found.append(word)
            else:
                cases = in_other_capitals(word) if self.cased else []
                found += mended(word, list(word), cases, *self[:-1])
        return found[-MAX_WORDS:]


def plain_spellings(word: str) -> set[str]:
    """How a word with accents is written without them; with umlauts, also with an e or an s behind the letter."""
    if word.isascii():
        return set()
    bare = "".join(unicodedata.normalize("NFD", letter)[0] for letter in word)
    long = "".join(_LONG.get(letter, letter) for letter in word)
    return {bare, long} - {word}


_LONG = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"}


def in_other_capitals(word: str) -> list[str]:
    """A word in small letters, with a first capital, and all in capitals."""
    low = "".join(map(small, word))
    return [low, title(low[:1]) + low[1:] if low else low, "".join(map(title, low))]


def mended(
    word: str,
    letters: list[str],
    cases: list[str],
    ids: dict[str, int],
    first: int,
    end: int,
    alphabet: list[str],
    short: dict[str, list[str]],
    plain: dict[str, str],
) -> list[str]:
    """The known words that an unknown word is read as; the word itself where there are none.

    Args:
        letters: the characters of the word.
        cases: as `in_other_capitals` gives them.
        ids, first, end, alphabet, short, plain: as in `Spellings`.
    """
    if word in short:
        for way in short[word]:
            words = way.split(" ")
            if are_known(words, ids):
                return words
    for case in cases:
        if case in ids:
            return [case]
    if word in plain:
        return [plain[word]]
    for spelling in with_fewer_letters(letters):
        if spelling in ids:
            return [spelling]
    best, nearest = end, word
    if 3 <= len(letters) <= 24:  # of a longer word there would be too many
        for spelling in one_edit_away(letters, alphabet):
            id = ids.get(spelling, end)
            if first <= id < best:
                best, nearest = id, spelling
    return [nearest]


def are_known(words: list[str], ids: dict[str, int]) -> bool:
    """Whether a vocabulary has all of these words."""
    known = True
    for word in words:
        known = known and word in ids
    return known


def with_fewer_letters(letters: list[str]) -> list[str]:
    """Spellings in which a letter that stands three times or more in a row stands there twice, or once.

    With up to four such runs these are all; with more, all runs twice, and all once.
    """
    runs: list[str] = []
    counts: list[int] = []
    for letter in letters:
        if len(runs) > 0 and runs[-1] == letter:
            counts[-1] += 1
        else:
            runs.append(letter)
            counts.append(1)
    many = 0
    for count in counts:
        many += 1 if count > 2 else 0
    found: list[str] = []
    ways = 0 if many == 0 else 1 << many if many <= 4 else 2
    for way in range(ways):  # its bits are the runs that are cut to one letter
        left = way if many <= 4 or way == 0 else (1 << many) - 1
        pieces: list[str] = []
        for at in range(len(runs)):
            times = min(counts[at], 2)
            if counts[at] > 2:
                times -= left & 1
                left = left >> 1
            for _ in range(times):
                pieces.append(runs[at])
        found.append("".join(pieces))
    return found


def one_edit_away(letters: list[str], alphabet: list[str]) -> list[str]:
    """All spellings that are one edit away and keep the first letter, or exchange it with the second.

    Of three letters, none is left out and none is another: too little would be left of the word.
    """
    heads = [""]
    for letter in letters:
        heads.append(heads[-1] + letter)
    tails = [""]
    for at in range(len(letters) - 1, -1, -1):
        tails.append(letters[at] + tails[-1])
    tails.reverse()
    found: list[str] = []
    for at in range(len(letters)):
        if at + 1 < len(letters):
            found.append(heads[at] + letters[at + 1] + letters[at] + tails[at + 2])
        if at > 0 and len(letters) > 3:
            found.append(heads[at] + tails[at + 1])
            for letter in alphabet:
                found.append(heads[at] + letter + tails[at + 1])
        for letter in alphabet:
            found.append(heads[at + 1] + letter + tails[at + 1])
    return found
