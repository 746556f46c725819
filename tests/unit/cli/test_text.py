from __future__ import annotations

import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.cli.text import Column, cells, harmless, one_line, shorten, spread, table


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),  # the one-character form of ESC [
        ("a\rb", r"a\rb"),
        ("bell\x07\x7f\x00", r"bell\x07\x7f\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),  # shows what follows from right to left
        ("one\u2028two", r"one\u2028two"),
        ("\ud800", r"\ud800"),  # half a pair: could not even be encoded
        ("\ue000ä→東", "\ue000ä→東"),
        ("first\r\nsecond\nthird", "first\nsecond\nthird"),
    ],
)
def test_what_would_steer_a_terminal_is_shown_instead(raw: str, shown: str) -> None:
    assert harmless(raw) == shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_harmful_is_ever_left(raw: str) -> None:
    shown = harmless(raw)
    assert not [char for char in shown if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode()
    assert "\n" not in one_line(raw)


def test_one_line_joins_lines_and_blanks() -> None:
    assert one_line("  two\n\n  lines\tand\x1b") == r"two lines and\x1b"


@pytest.mark.parametrize(("text", "width"), [("", 0), ("abc", 3), ("東京", 4), ("e\u0301", 1), ("ｗ", 2)])  # noqa: RUF001
def test_cells_are_counted_and_not_characters(text: str, width: int) -> None:
    assert cells(text) == width


def test_shortening_keeps_the_telling_end() -> None:
    assert shorten("shop.tasks.charge", 8) == "shop.ta…"
    assert shorten("shop.tasks.charge", 8, keep_end=True) == "….charge"
    assert shorten("short", 5) == "short"
    assert shorten("東京都", 4) == "東…"  # half a character is none


@given(st.text(), st.integers(min_value=1, max_value=30), st.booleans())
def test_shortened_text_fits(text: str, width: int, keep_end: bool) -> None:
    assert cells(shorten(text, width, keep_end=keep_end)) <= width


COLUMNS = (Column("ID", right=True), Column("TASK", least=6, keep_end=True), Column("ERROR", least=5))
ROWS = [["1", "shop.charge", "refused by the bank"], ["12", "mail", "no"]]


def test_columns_are_aligned_and_no_line_ends_in_blanks() -> None:
    assert table(COLUMNS, ROWS, None) == [
        "ID  TASK         ERROR",
        " 1  shop.charge  refused by the bank",
        "12  mail         no",
    ]


def test_the_last_column_shrinks_first_and_then_the_one_before_it() -> None:
    assert table(COLUMNS, ROWS, 30)[1] == " 1  shop.charge  refused by t…"
    assert table(COLUMNS, ROWS, 20)[1] == " 1  …p.charge  refu…"
    assert table(COLUMNS, ROWS, 5)[1] == " 1  …harge  refu…", "no column shrinks below its least"


@given(
    st.lists(st.lists(st.text("abc東", max_size=40), min_size=3, max_size=3)), st.integers(min_value=60, max_value=90)
)
def test_a_table_fits_wherever_its_columns_can_shrink(rows: list[list[str]], width: int) -> None:
    columns = (Column("A", least=10), Column("B", least=10), Column("C", least=10))
    assert max(map(cells, table(columns, rows, width))) <= width


def test_colours_do_not_disturb_the_alignment() -> None:
    coloured = (Column("ID", style=lambda text: click.style(text, fg="red")), Column("TASK"))
    lines = table(coloured, [["1", "a"], ["123", "b"]], None)
    assert lines[1] != click.unstyle(lines[1])
    assert [click.unstyle(line) for line in lines] == ["ID   TASK", "1    a", "123  b"]


FACTS, LAST = (Column("ID", right=True), Column("TASK", least=4)), Column("ERROR", least=10)


@pytest.mark.parametrize("width", [None, 31])
def test_a_long_text_is_a_column_where_there_is_room(width: int | None) -> None:
    lines = spread(FACTS, LAST, [["7", "shop.charge"]], ["no amount at all"], width, indented=4)
    assert lines[0].split() == ["ID", "TASK", "ERROR"]
    assert lines[1] == (" 7  shop.charge  no amount at all" if width is None else " 7  shop.charge  no amount at …")


def test_where_there_is_none_it_has_a_line_of_its_own() -> None:
    rows = [["7", "shop.charge"], ["8", "shop.ship"]]
    lines = spread(FACTS, LAST, rows, ["no amount at all", ""], 18, indented=4)
    assert lines == ["ID  TASK", " 7  shop.charge\n    no amount at …", " 8  shop.ship"]
    assert all(cells(part) <= 18 for line in lines for part in line.split("\n"))
