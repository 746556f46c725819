"""Orders from a file: what is dirty is named row by row, and stops nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from shop.orders import InvalidOrder, Line, Order

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%y %H:%M")


#: No article of the shop costs more, in pounds.
MOST_POUNDS = 1_000_000


class UnreadableFile(Exception):
    """The file as a whole is not what was expected."""


@dataclass
class Reading:
    """What a file held: good orders, and why the rest is none."""

    orders: list[Order] = field(default_factory=list)
    rejected_rows: list[str] = field(default_factory=list)
    rejected_invoices: list[str] = field(default_factory=list)


def read_orders(path: Path, limit: int | None = None) -> Reading:
    """Read up to ``limit`` good orders.

    Raises UnreadableFile when the file is missing, is no text, or lacks columns.
    """
    reading = Reading()
    invoices: dict[str, Order] = {}
    for number, row in _rows(path):
        try:
            _add_row(invoices, row)
        except InvalidOrder as error:
            reading.rejected_rows.append(f"row {number}: {error}")
    for order in invoices.values():
        _sort(order, reading)
    reading.orders = reading.orders[:limit]
    return reading


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        # utf-8-sig drops the byte-order mark that spreadsheets write.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UnreadableFile(f"{path}: the header lacks {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            for row in reader:
                yield reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}; name a file with ORDERS=") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"{path}: not a UTF-8 CSV file ({error})") from error


def _add_row(invoices: dict[str, Order], row: dict[str, str]) -> None:
    invoice = row["InvoiceNo"]
    if not invoice:
        raise InvalidOrder("no invoice number")
    if invoice not in invoices:
        invoices[invoice] = Order(invoice, _customer(row), row["Country"], _date(row["InvoiceDate"]))
    invoices[invoice].lines.append(_line(row))


def _line(row: dict[str, str]) -> Line:
    quantity = _quantity(row["Quantity"])
    if quantity <= 0:
        raise InvalidOrder(f"quantity {quantity} of {row['StockCode']} (a cancellation)")
    pence = _pence(row["UnitPrice"])
    if pence <= 0:
        raise InvalidOrder(f"{row['StockCode']} costs nothing ({row['UnitPrice'] or 'no price'})")
    return Line(row["StockCode"], quantity, pence)


def _customer(row: dict[str, str]) -> str:
    # Exported through a float column: 12923.0 is customer 12923.
    return row["CustomerID"].removesuffix(".0")


def _quantity(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidOrder(f"quantity {text!r} is no whole number") from None


def _pence(text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidOrder(f"price {text!r} is no amount") from None
    # Larger ones are slips of a key, and beyond what Decimal multiplies.
    if not amount.is_finite() or amount.copy_abs() > MOST_POUNDS:
        raise InvalidOrder(f"price {text!r} is no amount")
    return int((amount * 100).to_integral_value())


def _date(text: str) -> datetime:
    for form in DATES:
        with suppress(ValueError):
            return datetime.strptime(text, form)
    raise InvalidOrder(f"date {text!r} is none of {', '.join(DATES)}")


def _sort(order: Order, reading: Reading) -> None:
    try:
        if order.invoice.upper().startswith("C"):
            raise InvalidOrder(f"invoice {order.invoice} is a cancellation")
        order.check()
    except InvalidOrder as error:
        reading.rejected_invoices.append(str(error))
    else:
        reading.orders.append(order)
