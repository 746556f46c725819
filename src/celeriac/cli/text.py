"""Text on a terminal: harmless, measured in cells, in columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

#: Cells between two columns.
GAP = 2

Style = Callable[[str], str]


def harmless(text: str) -> str:
    """The text with everything shown that would steer a terminal: an error's text comes from anywhere."""
    if text.isascii() and text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").expandtabs(4)
    return "".join(char if char == "\n" else _shown(char) for char in lines)


def _shown(char: str) -> str:
    # Control, format (which reorder text), surrogate, unassigned; line and paragraph separators.
    if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"):
        return char
    return char.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """Harmless, and line breaks and runs of blanks made one blank."""
    return harmless(" ".join(text.split()))


def cells(text: str) -> int:
    """How wide the text is on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int, *, keep_end: bool = False) -> str:
    """At most ``width`` cells, an ellipsis where something is left out."""
    if cells(text) <= width:
        return text
    kept = _first(text[::-1], width - 1)[::-1] if keep_end else _first(text, width - 1)
    return f"…{kept}" if keep_end else f"{kept}…"


def _first(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _cells_of(char)
        if used > width:
            return text[:index]
    return text


@dataclass(frozen=True)
class Column:
    """One column; ``least`` cells remain when it must shrink, None when it never does."""

    heading: str
    least: int | None = None
    keep_end: bool = False
    right: bool = False
    style: Style | None = None


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Aligned lines, the heading first, within ``width`` cells where the columns can shrink so far.

    The last columns shrink first; ``None`` leaves everything at its full length.
    """
    widths = natural_widths(columns, rows)
    if width is not None:
        _shrink(columns, widths, sum(widths) + GAP * (len(widths) - 1) - width)
    plain = [replace(column, style=None) for column in columns]
    return [_line(plain, widths, [c.heading for c in columns]), *(_line(columns, widths, row) for row in rows)]


def spread(
    columns: Sequence[Column],
    last: Column,
    rows: Sequence[Sequence[str]],
    texts: Sequence[str],
    width: int | None,
    *,
    indented: int,
) -> list[str]:
    """A table that ends in a long text a row; what would be cut below that column's ``least`` gets a line of its own.

    Such a line is ``indented`` so many cells. A text that is empty gets none.
    """
    natural = natural_widths(columns, rows)
    if width is None or sum(natural) + GAP * len(natural) + (last.least or 0) <= width:
        return table((*columns, last), [[*row, text] for row, text in zip(rows, texts, strict=True)], width)
    heading, *lines = table(columns, rows, width)
    return [heading, *(_with_text(line, last, text, width, indented) for line, text in zip(lines, texts, strict=True))]


def _with_text(line: str, last: Column, text: str, width: int, indented: int) -> str:
    if not text:
        return line
    shown = shorten(text, max(width - indented, 1))
    return f"{line}\n{' ' * indented}{last.style(shown) if last.style else shown}"


def natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """The cells each column takes at full length."""
    return [max([cells(column.heading), *(cells(row[at]) for row in rows)]) for at, column in enumerate(columns)]


def _shrink(columns: Sequence[Column], widths: list[int], excess: int) -> None:
    for index in reversed(range(len(columns))):
        least = columns[index].least
        if least is not None and excess > 0:
            cut = min(excess, max(widths[index] - least, 0))
            widths[index] -= cut
            excess -= cut


def _line(columns: Sequence[Column], widths: Sequence[int], values: Sequence[str]) -> str:
    # Nothing after the last that says something, so that no line ends in blanks.
    last = max((index for index, value in enumerate(values) if value), default=0)
    parts = []
    for index, (column, width, value) in enumerate(zip(columns, widths, values[: last + 1], strict=False)):
        text = shorten(value, width, keep_end=column.keep_end)
        blanks = " " * (width - cells(text)) if column.right or index < last else ""
        styled = column.style(text) if column.style else text
        parts.append(blanks + styled if column.right else styled + blanks)
    return (" " * GAP).join(parts)
