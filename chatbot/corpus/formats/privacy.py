"""What could name a person is left out of a text: names, phone numbers, e-mail addresses, links. It is counted."""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

LONGEST_NAME = 80  # characters
LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
PHONE = re.compile(r"@?(?<![\w.,:/-])(?:\+|\(|00|0(?=\d))?\d(?:[ ()/.-]{0,2}\d){6,14}(?![\w:/-])")
MANY_DIGITS = re.compile(r"(?:\d\D*){7}")
DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
# names that are words too: left out only where they begin with a capital inside a sentence
WORDS = {
    *("will", "may", "mark", "hope", "grace", "joy", "faith", "rose", "bill", "art", "drew", "pat", "rob", "sue"),
    *("jack", "frank", "max", "sky", "summer", "april", "june", "august", "you", "me", "the", "and", "mom", "mum"),
    *("dad", "of", "in", "on", "my", "we", "to", "it", "is"),
}
# what speakers are called who have no name: nobody's, so these words are kept
NO_NAMES = {
    *("speaker", "user", "assistant", "system", "bot", "chatbot", "human", "ai", "gpt", "chatgpt", "model", "agent"),
    *("customer", "client", "visitor", "guest", "operator", "support", "person", "unknown", "anonymous", "deleted"),
    *("account", "member", "admin", "student", "teacher", "doctor", "patient", "author", "sender", "service"),
}
NAME_PART = re.compile(r"[^\W\d_][\w'’-]*")
LETTERS = re.compile(r"[^\W\d_]+")
# of scripts that put no spaces around words; what is shorter stands inside other words too often
UNSPACED = re.compile(r"[\u3400-\u9fff]{2,}|[\uac00-\ud7a3]{2,}|[\u3040-\u30ff\u3400-\u9fff]{3,}")
EMPTY = re.compile(r"\W*")
GAPS = re.compile(r"[ ,]{1,3}(?=[,.!?;:](?: |$))|^[ ,;:]+|\( ?\)|@(?= |$)")


class Privacy:
    """Leaves out what could name a person; `names` are those of the speakers, whose parts are names too."""

    def __init__(self, names: Iterable[str], left_out: Counter[str]) -> None:
        self._left_out = left_out
        parts = set[str]()
        for name in names:
            found = [part for part in NAME_PART.findall(name) if 1 < len(part) <= LONGEST_NAME]
            parts.update(found)
            is_name = any(part.casefold() not in NO_NAMES for part in found)
            if is_name and " " in name and len(name) <= LONGEST_NAME and NAME_PART.match(name):
                parts.add(" ".join(name.split()))  # whose initials alone would be left
        self._names = _Names(tuple(sorted(parts)))

    def clean(self, text: str) -> str:
        """The text without them; "" if nothing but marks is left."""
        before = text
        if "@" in text:
            text = self._without(MAIL, "e-mail addresses", text)
        if "://" in text or "www." in text.lower():
            text = self._without(LINK, "links", text)
        if MANY_DIGITS.search(text):
            text = PHONE.sub(self._phone, text)
        if names := self._names.in_text(text):
            text = self._without_names(names, text)
        if text == before:
            return text
        text = " ".join(GAPS.sub("", " ".join(text.split())).rstrip(" ,;:").split())
        return "" if EMPTY.fullmatch(text) else text

    def _without(self, pattern: re.Pattern[str], what: str, text: str) -> str:
        text, count = pattern.subn("", text)
        if count:
            self._left_out[what] += count
        return text

    def _phone(self, found: re.Match[str]) -> str:
        if DATE.fullmatch(found[0]):
            return found[0]
        self._left_out["phone numbers"] += 1
        return ""

    def _without_names(self, names: list[tuple[int, int]], text: str) -> str:
        self._left_out["names"] += len(names)
        pieces, done = [], 0
        for begin, end in names:
            pieces.append(text[done:begin])
            done = end
        return "".join(pieces) + text[done:]


@functools.lru_cache(maxsize=4)  # the days of a channel have the same people
class _Names:
    """Parts of names, to be looked up: a text takes as long with ten thousand names as with two."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._forms = {form for part in parts for form in _forms(part)}
        self._unspaced = set(filter(UNSPACED.fullmatch, parts))
        # how long they are, the longest first, by the letters or the character that they begin with
        self._lengths = _lengths((LETTERS.match(form)[0], len(form)) for form in self._forms)  # type: ignore[index]
        self._unspaced_lengths = _lengths((form[0], len(form)) for form in self._unspaced)

    def in_text(self, text: str) -> list[tuple[int, int]]:
        """Where names begin and end, the longest that fits each time, with an `@` before and a genitive `'s` behind.

        With letters around it, a name is part of another word; but not in a script without spaces.
        """
        may_have = not self._lengths.keys().isdisjoint(LETTERS.findall(text))
        if not may_have and (not self._unspaced or self._unspaced_lengths.keys().isdisjoint(text)):
            return []
        found, done = [], 0
        for letters in LETTERS.finditer(text):
            if letters.start() < done:  # inside a name of several words
                continue
            if span := self._whole(text, letters):
                found.append(span)
                done = span[1]
            elif self._unspaced:
                found += self._inside(text, *letters.span())
        return found

    def _whole(self, text: str, letters: re.Match[str]) -> tuple[int, int] | None:
        """The name that begins with these letters."""
        begin = letters.start()
        for length in self._lengths.get(letters[0], ()):
            end = begin + length
            if text[begin:end] in self._forms and not LETTERS.match(text, end):
                if text[begin:end].casefold() in WORDS and _begins_sentence(text, begin):
                    return None  # "Will you come?"
                genitive = text[end : end + 2] in ("'s", "’s") and not LETTERS.match(text, end + 2)
                return begin - (text[begin - 1 : begin] == "@"), end + 2 * genitive
        return None

    def _inside(self, text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """The names without spaces around them between two places."""
        while begin < end:
            lengths = self._unspaced_lengths.get(text[begin], ())
            length = next((n for n in lengths if text[begin : begin + n] in self._unspaced), 0)
            if length:
                yield begin, begin + length
            begin += length or 1


def _lengths(forms: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for begins_with, length in forms:
        lengths[begins_with].add(length)
    return {begins_with: sorted(found, reverse=True) for begins_with, found in lengths.items()}


def _begins_sentence(text: str, place: int) -> bool:
    place -= text[place - 1 : place] == "@"
    while place and text[place - 1].isspace():
        place -= 1
    return not place or text[place - 1] in ".!?"


def _forms(part: str) -> set[str]:
    """How a name may be written: as it is, all in capitals, all small; none of what is nobody's name."""
    if part.casefold() in NO_NAMES:
        return set()
    if part.casefold() in WORDS:
        return {part} if part[0].isupper() else set()
    return {part, part.lower(), part.upper(), part.capitalize()}
