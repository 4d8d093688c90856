"""What could name a person is left out of a text: names, phone numbers, e-mail addresses, links. It is counted."""

import re
from collections import Counter
from collections.abc import Iterable

MAX_NAMES = 5000  # of the speakers of a corpus; a regular expression of more takes long to make
LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
PHONE = re.compile(r"@?(?<![\w.,:/-])(?:\+|\(|00|0(?=\d))?\d(?:[ ()/.-]{0,2}\d){6,14}(?![\w:/-])")
DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
# names that are words too: left out only where they begin with a capital inside a sentence
WORDS = {
    *("will", "may", "mark", "hope", "grace", "joy", "faith", "rose", "bill", "art", "drew", "pat", "rob", "sue"),
    *("jack", "frank", "max", "sky", "summer", "april", "june", "august", "you", "me", "bot", "the", "and", "mom"),
    *("mum", "dad"),
}
NAME_PART = re.compile(r"[^\W\d_][\w'’-]*")
EMPTY = re.compile(r"\W*")
GAPS = re.compile(r"\s+(?=[,.!?;:](?:\s|$))|(?<=\s)\s+|^[\s,;:]+|\(\s*\)|@(?=\s|$)")


class Privacy:
    """Leaves out what could name a person; `names` are those of the speakers, whose parts are names too."""

    def __init__(self, names: Iterable[str], left_out: Counter[str]) -> None:
        self._left_out = left_out
        parts = {part for name in names for part in NAME_PART.findall(name) if len(part) > 1}
        spelt = sorted(parts, key=lambda part: (-len(part), part))[:MAX_NAMES]
        forms = {form for part in spelt for form in _forms(part)}
        self._inside = {form for form in forms if form.casefold() in WORDS}
        joined = "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))
        # of names without spaces between words, as in Chinese, a part may stand right beside another character
        self._names = re.compile(rf"@?(?<![^\W\d_])(?:{joined})(?:['’]s)?(?![^\W\d_])") if forms else None

    def clean(self, text: str) -> str:
        """The text without them; "" if nothing but marks is left."""
        before = text
        if "@" in text:
            text = self._without(MAIL, "e-mail addresses", text)
        if "://" in text or "www." in text.lower():
            text = self._without(LINK, "links", text)
        if sum(map(str.isdigit, text)) >= 7:
            text = PHONE.sub(self._phone, text)
        if self._names:
            text = self._names.sub(self._name, text)
        if text == before:
            return text
        text = GAPS.sub("", text).rstrip(" ,;:")
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
        if found[0] in self._inside and (found.start() == 0 or found.string[: found.start()].rstrip()[-1:] in ".!?"):
            return found[0]  # "Will you come?"
        self._left_out["names"] += 1
        return ""


def _forms(part: str) -> set[str]:
    """How a name may be written: as it is, all in capitals, all small."""
    if part.casefold() in WORDS:
        return {part} if part[0].isupper() else set()
    return {part, part.lower(), part.upper(), part.capitalize()}
