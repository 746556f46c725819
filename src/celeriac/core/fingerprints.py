"""What makes two errors the same one: the type, and the text without all that differs from one task to the next."""

from __future__ import annotations

import re
from collections.abc import Callable

from celeriac.core.digests import short_hash

#: Of a text that goes on for pages, the beginning tells errors apart: what is looked at, and what is kept of it.
_LINES, _READ, _KEPT = 5, 4000, 400
#: Digits of a fingerprint: enough for a million different errors.
DIGITS = 12

_UUID = r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"
#: Digits and letters that take turns: order_3fKx9Q, but neither utf8 nor port5432.
_TURNS = re.compile(r"\d[A-Za-z_]+\d|[A-Za-z]\d+[A-Za-z]")


def _id(found: re.Match[str]) -> str:
    return "<id>" if _TURNS.search(found[0]) else found[0]


#: What is taken out, in this order, and what stands there instead. None of these may take longer than one pass: the
#: text comes from anywhere.
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        # A quotation mark inside a word is an apostrophe. One that is never closed was, before the text was cut.
        (r"(?<!\w)b?'(?:[^'\\\n]|\\.)*(?:'(?!\w)|$)", "<value>"),
        (r'(?<!\w)b?"(?:[^"\\\n]|\\.)*(?:"(?!\w)|$)', "<value>"),
        (r"(?<!\w)`[^`\n]*(?:`(?!\w)|$)|“[^”\n]*”|«[^»\n]*»", "<value>"),
        (r"(?<=[\w/])\?(?=[\w.~%-]+=)[^\s)>\]}\"']*", "?<query>"),
        (r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "<email>"),
        (rf"(?<!\w){_UUID}(?!\w)", "<id>"),
        (rf"{_DAY}(?:[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"(?<!\w)0[xX][0-9a-fA-F]+", "<hex>"),
        (r"(?<!\w)(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{8,}(?!\w)", "<hex>"),
        (r"(?<!\w)\w{6,}", _id),
        (r"(?<![\w.])[-+]?\d+(?:[.,:_/-]\d+)*(?:[eE][-+]?\d+)?|\d+", "<n>"),
    )
)


def normalised(error: str) -> str:
    """The text on one line, with numbers, ids, hexadecimal digits, times and quoted values taken out."""
    text = "\n".join(error.strip()[:_READ].splitlines()[:_LINES])
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return " ".join(text.split())[:_KEPT]


def fingerprint(error_type: str, error: str) -> str:
    """Twelve hexadecimal digits that errors of one kind have in common, whatever task raised them."""
    return short_hash(f"{error_type}\x1f{normalised(error)}")[:DIGITS]
