"""What could name a person is left out of a text: names, phone numbers, e-mail addresses, links. It is counted."""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

MAX_PATTERNS = 5000  # that are kept, of the names of one text each
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
            found = [part for part in NAME_PART.findall(name) if len(part) > 1]
            parts.update(found)
            if " " in name and NAME_PART.match(name) and any(part.casefold() not in NO_NAMES for part in found):
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
        if pattern := self._names.in_text(text):
            text = pattern.sub(self._name, text)
        if unspaced := self._names.unspaced:
            text = self._without(unspaced, "names", text)
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

    def _name(self, found: re.Match[str]) -> str:
        begins = found.start() == 0 or found.string[: found.start()].rstrip()[-1:] in ".!?"
        if begins and found[1].casefold() in WORDS:
            return found[0]  # "Will you come?"
        self._left_out["names"] += 1
        return ""


@functools.lru_cache(maxsize=4)  # the days of a channel have the same people
class _Names:
    """Parts of names, by the letters that they begin with: few texts have any of them."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._by_letters: defaultdict[str, list[str]] = defaultdict(list)
        for form in {form for part in parts for form in _forms(part)}:
            self._by_letters[LETTERS.match(form)[0]].append(form)  # type: ignore[index]
        unspaced = sorted(filter(UNSPACED.fullmatch, parts), key=len, reverse=True)
        self.unspaced = re.compile("|".join(unspaced)) if unspaced else None
        self._patterns: dict[frozenset[str], re.Pattern[str]] = {}

    def in_text(self, text: str) -> re.Pattern[str] | None:
        """A pattern of the names in a text; None if it has none."""
        words = LETTERS.findall(text)
        if self._by_letters.keys().isdisjoint(words):
            return None
        found = frozenset(self._by_letters.keys() & words)
        if found not in self._patterns:
            if len(self._patterns) >= MAX_PATTERNS:
                self._patterns.clear()
            forms = {form for letters in found for form in self._by_letters[letters]}
            joined = "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))
            self._patterns[found] = re.compile(rf"@?(?<![^\W\d_])({joined})(?:['’]s)?(?![^\W\d_])")
        return self._patterns[found]


def _forms(part: str) -> set[str]:
    """How a name may be written: as it is, all in capitals, all small; none of what is nobody's name."""
    if part.casefold() in NO_NAMES:
        return set()
    if part.casefold() in WORDS:
        return {part} if part[0].isupper() else set()
    return {part, part.lower(), part.upper(), part.capitalize()}
