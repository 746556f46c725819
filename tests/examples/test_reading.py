"""Orders from dirty files: nobody is charged another sum than was meant, and every reason is told."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
AT = "2025-01-06 09:00:00"


def row(
    invoice: str = "1",
    article: str = "A",
    quantity: object = 2,
    price: str = "1.25",
    customer: str = "7.0",
    country: str = "France",
    at: str = AT,
) -> str:
    return f"{invoice},{article},Thing,{quantity},{at},{price},{customer},{country}\n"


def read(folder: Path, *rows: str, limit: int | None = None) -> Any:
    path = folder / "orders.csv"
    path.write_text(HEADER + "".join(rows), encoding="utf-8")
    return import_module("shop.reading").read_orders(path, limit)


def sums(reading: Any) -> dict[str, int]:
    return {order.invoice: order.pence for order in reading.orders}


def texts(reading: Any) -> list[str]:
    return [reason.text for reason in reading.reasons]


# -- corrections


def test_a_correction_is_taken_off(tmp_path: Path) -> None:
    reading = read(tmp_path, row(quantity=5), row(quantity=-2), row(article="B", quantity=1))
    assert sums(reading) == {"1": 3 * 125 + 125}
    assert reading.reasons == []


def test_a_correction_may_stand_before_its_line_and_take_all_of_it(tmp_path: Path) -> None:
    reading = read(tmp_path, row(quantity=-2), row(quantity=2), row(article="B", quantity=1))
    assert sums(reading) == {"1": 125}


@pytest.mark.parametrize(
    "correction", [row(quantity=-6), row(article="B", quantity=-1), row(quantity=-1, price="1.30")]
)
def test_a_correction_that_matches_nothing_rejects_the_order(tmp_path: Path, correction: str) -> None:
    reading = read(tmp_path, row(quantity=5), correction, row(invoice="2"))
    assert sums(reading) == {"2": 250}
    assert [(reason.what, reason.kind) for reason in reading.reasons] == [
        ("row", "cancellation"),
        ("invoice", "cancellation"),
    ]
    assert texts(reading)[0].startswith("row 3: quantity -")


def test_an_order_that_was_taken_back_whole_is_none(tmp_path: Path) -> None:
    reading = read(tmp_path, row(quantity=2), row(quantity=-2))
    assert texts(reading) == ["invoice 1 has no lines that can be sold"]


@pytest.mark.parametrize("bad", [{"quantity": "x"}, {"price": "x"}, {"quantity": -1, "price": "0"}, {"at": "soon"}])
def test_an_order_with_an_unreadable_row_is_not_charged_for_the_rest(tmp_path: Path, bad: dict[str, Any]) -> None:
    reading = read(tmp_path, row(), row(article="B", **bad), row(invoice="2"))
    assert sums(reading) == {"2": 250}
    assert texts(reading)[1] == "invoice 1: row 3 cannot be read"


def test_the_unreadable_row_may_come_first(tmp_path: Path) -> None:
    assert sums(read(tmp_path, row(quantity="x"), row(), row(invoice="2"))) == {"2": 250}


def test_what_costs_nothing_is_left_out_and_told(tmp_path: Path) -> None:
    reading = read(tmp_path, row(), row(article="GIFT", price="0.00"))
    assert sums(reading) == {"1": 250}
    assert texts(reading) == ["row 3: GIFT costs nothing (0.00)"]


# -- money


@pytest.mark.parametrize(
    ("quantity", "price", "pence"),
    [
        (8, "0.125", 100),
        (1, "0.125", 13),
        (1, "0.124", 12),
        (3, "0.335", 101),
        (1000, "0.001", 100),
        (1, "19.99", 1999),
        ("5.0", "1", 500),
        (1_000_000, "99999.99", 9_999_999_000_000),
    ],
)
def test_pence_are_rounded_half_up_after_multiplying(tmp_path: Path, quantity: object, price: str, pence: int) -> None:
    order = import_module("shop.orders")
    line = order.Line("A", int(float(str(quantity))), Decimal(price) * 100)
    assert line.total == pence
    read_sums = sums(read(tmp_path, row(quantity=quantity, price=price)))
    assert read_sums == ({"1": pence} if pence <= order.MOST_PENCE else {})


@pytest.mark.parametrize("price", ["nan", "inf", "1e3", "1_0", "£1", "", "1.2.3", "٣", "9" * 400])
def test_what_is_no_price_is_told(tmp_path: Path, price: str) -> None:
    (told,) = read(tmp_path, row(price=price)).rejected_rows
    assert "is no amount" in told


@pytest.mark.parametrize("quantity", ["1.5", "1_0", "٣", "", "9" * 5000, "1000001"])
def test_what_is_no_quantity_is_told(tmp_path: Path, quantity: str) -> None:
    (told,) = read(tmp_path, row(quantity=quantity)).rejected_rows
    assert "is no whole number" in told


def test_a_sum_of_nothing_is_told(tmp_path: Path) -> None:
    assert texts(read(tmp_path, row(quantity=1, price="0.001"))) == ["invoice 1 adds up to 0 pence"]


# -- customers


@pytest.mark.parametrize("customer", ["", "nan", "NaN", "None", "n/a"])
def test_nobody_is_no_customer(tmp_path: Path, customer: str) -> None:
    assert texts(read(tmp_path, row(customer=customer))) == ["invoice 1 has no customer"]


def test_one_row_with_a_customer_is_enough(tmp_path: Path) -> None:
    (order,) = read(tmp_path, row(customer=""), row(article="B", customer="7")).orders
    assert order.customer == "7"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"customer": "8"}, "invoice 1 has two customers: 7 (row 2) and 8 (row 3)"),
        ({"country": "Norway"}, "invoice 1 has two countries: France (row 2) and Norway (row 3)"),
    ],
)
def test_two_customers_in_one_order_are_told(tmp_path: Path, other: dict[str, Any], why: str) -> None:
    assert texts(read(tmp_path, row(), row(**other), row())) == [why]


def test_a_customer_who_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    assert texts(read(tmp_path, row(customer="7 <x>"))) == ["invoice 1: '7 <x>' is no customer number"]


# -- dates


def dates(reading: Any) -> list[datetime]:
    return [order.placed_at.replace(tzinfo=None) for order in reading.orders]


@pytest.mark.parametrize(
    ("evidence", "month", "day"), [("12/31/2010 8:26", 12, 1), ("31/12/2010 8:26", 1, 12), ("1/12/2010 8:26", 12, 1)]
)
def test_an_ambiguous_date_is_read_as_the_file_has_others(tmp_path: Path, evidence: str, month: int, day: int) -> None:
    reading = read(tmp_path, row(at="12/1/2010 8:26"), row(invoice="2", at=evidence))
    assert dates(reading)[0] == datetime(2010, month, day, 8, 26)
    (note,) = reading.notes
    assert ("day/month" in note) == (month == 1)
    assert ("none in the file decides" in note) == (evidence == "1/12/2010 8:26")


def test_a_file_with_both_conventions_loses_only_what_can_be_either(tmp_path: Path) -> None:
    either, us, uk = row(at="12/1/10 8:26"), row(invoice="2", at="12/31/10 8:26"), row(invoice="3", at="31/12/10 8:26")
    reading = read(tmp_path, either, us, uk, row(invoice="4", at="1/1/10"))
    assert [order.invoice for order in reading.orders] == ["2", "3", "4"]
    assert dates(reading)[:2] == [datetime(2010, 12, 31, 8, 26)] * 2
    assert "may be month/day or day/month" in texts(reading)[0]


@pytest.mark.parametrize("at", ["2010-12-01T08:26:00Z", "2010-12-01 8:26", "2010-12-01 08:26:00.000"])
def test_iso_dates_need_no_convention(tmp_path: Path, at: str) -> None:
    reading = read(tmp_path, row(at=at))
    assert [order.placed_at for order in reading.orders] == [datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc)]
    assert reading.notes == []


@pytest.mark.parametrize("at", ["2010-13-01", "2010-02-30", "13/13/2010", "2010-12-01 25:00", "1.12.2010", ""])
def test_what_is_no_date_is_told(tmp_path: Path, at: str) -> None:
    (told,) = read(tmp_path, row(at=at)).rejected_rows
    assert told.startswith(f"row 2: date {at!r}")


# -- the whole


def test_the_limit_counts_good_orders(tmp_path: Path) -> None:
    reading = read(tmp_path, row(customer=""), row("2"), row("3", price="x"), row("4"), row("5"), limit=2)
    assert sums(reading) == {"2": 250, "4": 250}


def test_reasons_are_counted_by_kind(tmp_path: Path) -> None:
    reading = read(tmp_path, row("1", customer=""), row("2", customer=""), row("3", price="0"), "4,A\n")
    assert reading.counted() == {
        "invoice: no customer": 2,
        "row: free": 1,
        "row: columns": 1,
        "invoice: no lines": 1,
    }
    assert len(reading.reasons) == sum(reading.counted().values())


def test_a_short_row_names_its_line_its_columns_and_spoils_its_order(tmp_path: Path) -> None:
    reading = read(tmp_path, row(), "1,B,Thing,2\n", row(invoice="2"))
    assert texts(reading) == [
        "row 3: 4 columns instead of 8: InvoiceDate, UnitPrice, CustomerID, Country missing",
        "invoice 1: row 3 cannot be read",
    ]
    assert sums(reading) == {"2": 250}


def test_rows_in_windows_1252_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes((HEADER + row() + row("2", country="Réunion")).encode("cp1252"))
    reading = import_module("shop.reading").read_orders(path)
    assert [order.country for order in reading.orders] == ["France", "Réunion"]
    assert reading.notes == ["rows that are not UTF-8 were read as Windows-1252: 3"]
