"""Orders from dirty files: each fault is named, none stops the rest."""

from __future__ import annotations

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
GOOD = "1,A,Thing,2,2025-01-06 09:00:00,1.25,7.0,France\n"


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def read(path: Path, limit: int | None = None) -> Any:
    return import_module("shop.reading").read_orders(path, limit)


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "orders.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_the_sample_that_ships() -> None:
    reading = read(EXAMPLES / "shop" / "sample_orders.csv")
    assert len(reading.orders) == 200
    assert len(reading.rejected_rows) == 6
    assert len(reading.rejected_invoices) == 5


def test_the_sample_is_what_its_maker_makes() -> None:
    made = io.StringIO()
    columns, rows = import_module("shop.reading").COLUMNS, import_module("shop.sample").rows()
    csv.writer(made, lineterminator="\n").writerows([columns, *rows])
    assert made.getvalue() == (EXAMPLES / "shop" / "sample_orders.csv").read_text(encoding="utf-8")


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    (order,) = read(written(tmp_path, HEADER + GOOD, "utf-8-sig")).orders
    assert (order.invoice, order.customer, order.pence) == ("1", "7", 250)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2,A,Thing,-1,2025-01-06 09:00:00,1.25,7,France", "a cancellation"),
        ("2,A,Thing,x,2025-01-06 09:00:00,1.25,7,France", "no whole number"),
        ("2,A,Thing,1,2025-01-06 09:00:00,,7,France", "no amount"),
        ("2,A,Thing,1,2025-01-06 09:00:00,NaN,7,France", "no amount"),
        ("2,A,Thing,1,2025-01-06 09:00:00,1e999999999,7,France", "no amount"),
        ("2,A,Thing,1,2025-01-06 09:00:00,0,7,France", "costs nothing"),
        ("2,A,Thing,1,soon,1.25,7,France", "date 'soon'"),
        (",A,Thing,1,2025-01-06 09:00:00,1.25,7,France", "no invoice number"),
    ],
)
def test_a_dirty_row_is_named_and_stops_nothing(tmp_path: Path, row: str, why: str) -> None:
    reading = read(written(tmp_path, HEADER + row + "\n" + GOOD))
    assert [order.invoice for order in reading.orders] == ["1"]
    (told,) = reading.rejected_rows
    assert told.startswith("row 2: ")
    assert why in told


def test_a_cancellation_and_an_order_without_customer_are_no_orders(tmp_path: Path) -> None:
    rows = "C3,A,Thing,1,2025-01-06 09:00:00,1,7,France\n4,A,Thing,1,2025-01-06 09:00:00,1,,France\n"
    reading = read(written(tmp_path, HEADER + rows))
    assert reading.orders == []
    assert len(reading.rejected_invoices) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"a,b\n1,2\n", "lacks InvoiceNo"), (HEADER.encode() + b"\xff\xfe", "not a UTF-8"), (None, "No such")],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "orders.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(import_module("shop.reading").UnreadableFile, match=why):
        read(path)


def test_a_limit(tmp_path: Path) -> None:
    assert len(read(EXAMPLES / "shop" / "sample_orders.csv", 7).orders) == 7
