"""Make text from elsewhere, such as names, messages of exceptions and stored runs, safe for its destination.

What a terminal, a log, a Markdown page or a spreadsheet would act on is removed: escape sequences, NUL, characters that
change the direction of writing, lone surrogates, formulas.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\ufffb]"
)
"""Control, format and surrogate characters other than tab and line feed: none of them has a glyph of its own."""
REPLACEMENT = "�"
FORMULA = re.compile(r"[=+\-@\t\r\n]")
MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": "&#64;"}
FORMATTING = "\\`*_[]~#"
LONGEST_NAME = 80
MOST_LINES = 30
"""Lines of a message that has a line for each mistake: more would push the first off the screen."""
MOST_NAMES = 3


def printable(text: str) -> str:
    """Return the text with characters that a terminal would act on replaced; its line breaks stay."""
    return HIDDEN.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """Return the text on one line, with characters that a terminal would act on replaced."""
    return "".join(char if char.isprintable() else REPLACEMENT for char in text)


def cut(text: str, length: int) -> str:
    """Return at most ``length`` characters of the text, with an ellipsis in place of the rest."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def cut_name(name: str, length: int) -> str:
    """Return at most ``length`` characters of a name: of an import path the end, which differs within a package."""
    keeps_end = ":" in name or name.startswith("…")
    return f"…{name[1 - length :]}" if keeps_end and len(name) > length else cut(name, length)


def digest(*texts: str) -> str:
    """Return a short hash of the texts, which is the same on every machine."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:12]


def counted(number: object, noun: str, plural: str = "") -> str:
    """Return ``1 case`` or ``2,000 cases``; if a stored file has something else than a number, it is shown as it is."""
    digits = f"{number:,}" if isinstance(number, int) else str(number)
    return f"{digits} {noun if number == 1 else plural or f'{noun}s'}"


def first_lines(lines: Sequence[str]) -> str:
    """Return the lines; of very many, the first ones and the number of the others."""
    excess = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"... and {excess:,} more"] if excess > 0 else [])])


def value_text(value: object) -> str:
    """Return a Python value as messages show it."""
    return cut(repr(value), LONGEST_NAME)


def short_name(name: str) -> str:
    """Return a name as messages show it."""
    return cut(name, LONGEST_NAME)


def listed(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Return the texts; a single text is a list of itself, not of its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def joined(words: Sequence[str]) -> str:
    """Return ``a, b and c``; ``none`` without words."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


def first_names(names: Sequence[str], most: int = MOST_NAMES) -> list[str]:
    """Return the names; of more than ``most``, the first ones and ``4 more``."""
    return [*names[:most], *([f"{len(names) - most:,} more"] if len(names) > most else [])]


def some(names: Sequence[str]) -> str:
    """Return ``a, b, c and 4 more``: the first names, cut to one line each, and the number of the others."""
    return joined([short_name(one_line(name)) for name in first_names(names)])


def some_long(names: Sequence[str], most: int) -> str:
    """Return ``a; b and 4 more``, for names that hold commas; without an "and" if all are named."""
    return " and ".join(["; ".join(names[:most]), *first_names(names, most)[most:]])


def file_stem(name: str) -> str:
    """Return the letters and digits of a name with dashes between, fit for a file name; it may be empty."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]


def inside(title: str) -> str:
    """Return a title as it stands inside a sentence: ``params`` for ``Params``; abbreviations stay as they are."""
    return title if title[1:2].isupper() else f"{title[:1].lower()}{title[1:]}"


def markdown(text: str, length: int = 120) -> str:
    """Return the text as plain text for GitHub's Markdown: nothing in it formats, links, mentions or breaks a table."""
    line = cut("".join(char if char.isprintable() else " " for char in text), length)
    return "".join(MARKDOWN.get(char, f"\\{char}" if char in FORMATTING else char) for char in line)


def cell(value: object) -> object:
    """Return a value for a CSV: text that a spreadsheet would run as a formula gets a leading apostrophe.

    A number written as text, such as ``-1.5``, is not a formula.
    """
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
