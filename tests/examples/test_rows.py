"""Rows of a CSV file: a broken one is told, and takes no other with it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

COLUMNS = ("id", "name", "city")
HEADER = b"id,name,city\n"


def rows(folder: Path, content: bytes) -> list[Any]:
    path = folder / "file.csv"
    path.write_bytes(content)
    found: list[Any] = import_module("shop.rows").read_rows(path, COLUMNS)
    return found


def told(found: list[Any]) -> list[tuple[int, str]]:
    """The number of each row, and its name, or what is wrong with it."""
    return [(row.number, str(row.fault) if row.fault else row.values["name"]) for row in found]


def test_a_latin_1_byte_is_its_own_rows_matter(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b"1,Caf\xe9,Paris\n2,Th\xc3\xa9,Lyon\n")
    assert told(found) == [(2, "Café"), (3, "Thé")]
    assert [row.foreign for row in found] == [True, False]


def test_bytes_of_no_encoding_and_nul_reject_one_row(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b"1,\x81,Paris\n2,\0,Rome\n3,Fine,Oslo\n")
    assert [(row.number, row.fault is None) for row in found] == [(2, False), (3, False), (4, True)]
    assert "neither UTF-8 nor Windows-1252" in str(found[0].fault)
    assert "NUL" in str(found[1].fault)


@pytest.mark.parametrize(
    "broken",
    [
        b'1,"open,Paris\n',
        b'1,open,"Paris\n',
        b'"1,open,Paris\n',
        b'1,"op"en,Paris\n',
        b'1,"open",Pa"ris"\n1,"open,Paris\n',
    ],
)
@pytest.mark.parametrize("after", [b"", b'3,12",Rome\n', b'3,"quoted, well",Rome\n', b'3,"open,Rome\n'])
def test_an_open_quote_swallows_nothing(tmp_path: Path, broken: bytes, after: bytes) -> None:
    found = rows(tmp_path, HEADER + broken + b"2,Fine,Oslo\n" + after + b"4,Last,Bonn\n")
    good = [row.values["name"] for row in found if not row.fault]
    assert "Fine" in good
    assert good[-1] == "Last"
    assert not any("\n" in value for row in found for value in row.values.values() if not row.fault)
    assert found[0].values["id"].startswith("1") or "quote" in str(found[0].fault)


def test_a_field_may_go_on_over_lines_when_its_quote_is_closed(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b'1,"two\nlines, and\r\nthree",Paris\n2,Fine,Oslo\n')
    assert told(found) == [(2, "two\nlines, and\r\nthree"), (5, "Fine")]


def test_a_quote_that_never_closes_is_given_up_at_the_end(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b'1,"open,Paris')
    assert told(found) == [(2, "a quote is opened and not closed, or stands inside a quoted field")]
    assert found[0].values["id"] == "1"


def test_short_and_long_rows_say_their_columns(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b"1\n\n2,a,b,c\n")
    assert told(found) == [
        (2, "1 columns instead of 3: name, city missing"),
        (4, "4 columns instead of 3: a comma in a field needs quotes round the field"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_blank_lines(tmp_path: Path, end: bytes) -> None:
    found = rows(tmp_path, end.join([b"id,name,city", b"1,a,b", b"", b"2,c,d", b""]))
    assert told(found) == [(2, "a"), (4, "c")]


def test_only_line_ends_end_a_line(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + "1,a\u2028b\x0bc\x1cd,Paris\n".encode())
    assert told(found) == [(2, "a\u2028b\x0bc\x1cd")]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, b"\xef\xbb\xbfcity, name ,more,id\nParis, x ,y,1\n")
    assert row.values == {"id": "1", "name": "x", "city": "Paris"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "lacks id, name, city"),
        (b"id;name;city\n1;a;b\n", "divided by commas"),
        ("id,name,city\n".encode("utf-16"), "UTF-16"),
        (HEADER + b"\xff\xfe\x81", "not a UTF-8 CSV file"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(import_module("shop.rows").UnreadableFile, match=why):
        rows(tmp_path, content)


def test_a_field_longer_than_the_parser_takes_is_one_bad_row(tmp_path: Path) -> None:
    found = rows(tmp_path, HEADER + b"1," + b"x" * 200_000 + b",Paris\n2,Fine,Oslo\n")
    assert [row.fault is None for row in found] == [False, True]
