"""Rows of a CSV file, each by itself: a broken one is told, and takes no other with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shop.orders import InvalidOrder

#: A quoted field may go on over so many lines.
MOST_LINES = 25
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class UnreadableFile(Exception):
    """The file as a whole is not what was expected."""


@dataclass
class Row:
    """One record: the number of its first line, its values, and what is wrong with it.

    The values of a faulty row are a guess, good enough to find out whose row it was.
    """

    number: int
    values: dict[str, str] = field(default_factory=dict)
    fault: InvalidOrder | None = None
    foreign: bool = False  #: not UTF-8, and read as Windows-1252


@dataclass(frozen=True)
class _Text:
    """A line as text. Without a fault it can be parsed."""

    text: str
    foreign: bool = False
    fault: InvalidOrder | None = None


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """All rows under the header, also the broken ones; blank lines are none.

    Raises UnreadableFile when the file is missing, lacks columns, or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}; name a file with ORDERS=") from error
    if content.startswith(UTF_16):
        raise UnreadableFile(f"{path}: this is UTF-16; save it as UTF-8")
    lines = [_decoded(line) for line in content.removeprefix(BYTE_ORDER_MARK).splitlines(keepends=True)]
    header = _header(path, lines[0].text if lines else "", columns)
    rows = list(_records(lines, header, columns))
    if rows and all(row.fault for row in rows) and any(row.foreign for row in rows):
        raise UnreadableFile(f"{path}: not a UTF-8 CSV file: row {rows[0].number}: {rows[0].fault}")
    return rows


def _decoded(line: bytes) -> _Text:
    if b"\0" in line:
        return _Text(line.decode(errors="replace"), fault=InvalidOrder("a NUL byte in the line", "encoding"))
    try:
        return _Text(line.decode())
    except UnicodeDecodeError:
        pass
    try:
        return _Text(line.decode("cp1252"), foreign=True)
    except UnicodeDecodeError as error:
        fault = InvalidOrder(f"neither UTF-8 nor Windows-1252 ({error.reason} at byte {error.start + 1})", "encoding")
        return _Text(line.decode(errors="replace"), foreign=True, fault=fault)


def _header(path: Path, line: str, columns: Sequence[str]) -> list[str]:
    header = [name.strip() for name in _guess(line)]
    missing = [name for name in columns if name not in header]
    if missing:
        raise UnreadableFile(
            f"{path}: the header lacks {', '.join(missing)}; expected {', '.join(columns)}, divided by commas"
        )
    return header


def _records(lines: list[_Text], header: list[str], columns: Sequence[str]) -> Iterator[Row]:
    at = 1
    while at < len(lines):
        taken, row = _record(lines, at, header)
        if lines[at].text.strip():
            row.values = {name: row.values.get(name, "").strip() for name in columns}
            yield row
        at += taken


def _record(lines: list[_Text], at: int, header: list[str]) -> tuple[int, Row]:
    """The record that begins at a line, and how many lines it takes."""
    first, text = lines[at], ""
    for taken, line in enumerate(lines[at : at + MOST_LINES], 1):
        # A line that is a whole row by itself belongs to nobody's open quote.
        if line.fault or (taken > 1 and len(_parsed(line.text) or ()) == len(header)):
            break
        text += line.text
        fields = _parsed(text)
        if fields is not None:
            return taken, _row(at + 1, fields, header, foreign=any(each.foreign for each in lines[at : at + taken]))
        if text.count('"') % 2 == 0:
            break
    fault = first.fault or InvalidOrder("a quote is opened and not closed, or stands inside a quoted field", "quotes")
    return 1, Row(at + 1, dict(zip(header, _guess(first.text), strict=False)), fault, first.foreign)


def _parsed(text: str) -> list[str] | None:
    """The fields of exactly one well-formed record; None when it is none."""
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None


def _guess(text: str) -> list[str]:
    try:
        return next(csv.reader([text.replace("\0", "")]), [])
    except csv.Error:
        return text.split(",")


def _row(number: int, fields: list[str], header: list[str], *, foreign: bool) -> Row:
    row = Row(number, dict(zip(header, fields, strict=False)), foreign=foreign)
    told = f"{len(fields)} columns instead of {len(header)}"
    if len(fields) < len(header):
        row.fault = InvalidOrder(f"{told}: {', '.join(header[len(fields) :])} missing", "columns")
    elif len(fields) > len(header):
        row.fault = InvalidOrder(f"{told}: a comma in a field needs quotes round the field", "columns")
    return row
