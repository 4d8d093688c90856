"""Text as bytes in the part of Python that TorchScript compiles, where a `str` is its UTF-8 bytes.

Bytes that are not UTF-8 (a C++ string may hold any) are read as `bytes.decode("utf-8", "replace")` reads them. A Python
`str` with a lone surrogate has no UTF-8 and torch refuses it before anything here sees it; a caller who may hold one
passes `text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")`. The functions run in plain Python too, on
text with one character for each byte (`data.decode("latin-1")`).
"""


def last_characters(text: str, count: int) -> str:
    """The last `count` code points of a text of any length, looking at no more than its end."""
    if len(text) <= count:
        return text
    # No code point has more than 4 bytes, so the last `count` lie whole in these. What is left of one that this cuts in
    # two counts as one for each byte, but lies before them.
    end = text[-4 * count :]
    data = utf8_bytes(end)
    starts: list[int] = []
    at = 0
    while at < len(end):
        starts.append(at)
        at += utf8_character(data, at)[1]
    return end[starts[-count] :] if len(starts) > count else end


def utf8_bytes(text: str) -> list[int]:
    """The bytes of text, and three zeros so that the bytes after a character's first may be looked at."""
    return [ord(byte) for byte in list(text)] + [0, 0, 0]


def utf8_character(data: list[int], at: int) -> tuple[int, int]:
    """The code point that begins at byte `at` of `utf8_bytes`, and its width in bytes.

    What is not UTF-8 is U+FFFD, as wide as the beginning of a character that it may have been, or one byte. So Unicode
    recommends it (The Unicode Standard, section 3.9, U+FFFD Substitution of Maximal Subparts), and so Python does it.
    """
    first, second = data[at], data[at + 1]
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4 or second & 0xC0 != 0x80:
        return 0xFFFD, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | second & 0x3F, 2
    third, four_bytes = data[at + 2], first >= 0xF0
    code = (first & (0x07 if four_bytes else 0x0F)) << 6 | second & 0x3F  # without the last six or twelve bits
    # of four bytes: an overlong form, or beyond Unicode; of three: an overlong form, or a surrogate
    if (code < 0x10 or code > 0x10F) if four_bytes else (code < 0x20 or 0x360 <= code < 0x380):
        return 0xFFFD, 1
    if third & 0xC0 != 0x80:
        return 0xFFFD, 2
    code = code << 6 | third & 0x3F
    if not four_bytes:
        return code, 3
    fourth = data[at + 3]
    return (code << 6 | fourth & 0x3F, 4) if fourth & 0xC0 == 0x80 else (0xFFFD, 3)


def without_markup(text: str) -> str:
    """Text with a space for each tag (`<i>`, `</i>`: 1 to 10 letters of ASCII), and for each other `<`, which no word
    holds anyway."""
    if text.find("<") < 0:
        return text
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    parts = text.split("<")
    pieces = [parts[0]]
    for part in parts[1:]:
        inside = part[: max(part.find(">"), 0)]
        name = inside[1:] if inside.startswith("/") else inside
        tag = 1 <= len(name) <= 10 and name.strip(letters) == ""
        pieces.append(part[len(inside) + 1 :] if tag else part)
    return " ".join(pieces)


def utf8_text(codes: list[int]) -> str:
    """Code points as text."""
    pieces: list[str] = []
    for code in codes:
        if code < 0x80:
            pieces.append(chr(code))
        elif code < 0x800:
            pieces.append(chr(0xC0 | code >> 6) + chr(0x80 | code & 0x3F))
        elif code < 0x10000:
            pieces.append(chr(0xE0 | code >> 12) + chr(0x80 | code >> 6 & 0x3F) + chr(0x80 | code & 0x3F))
        else:
            pieces.append(chr(0xF0 | code >> 18) + chr(0x80 | code >> 12 & 0x3F))
            pieces.append(chr(0x80 | code >> 6 & 0x3F) + chr(0x80 | code & 0x3F))
    return "".join(pieces)
