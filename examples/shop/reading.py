"""Orders from a file: what is dirty is named row by row, and stops nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from shop.dates import Convention, detect
from shop.orders import InvalidOrder, Line, Order
from shop.rows import Row, UnreadableFile, read_rows

__all__ = ["COLUMNS", "Reading", "Reason", "UnreadableFile", "read_orders"]

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")

#: No article of the shop costs more, in pounds, and nobody buys more pieces of it.
MOST_POUNDS, MOST_PIECES = 1_000_000, 1_000_000
# Spreadsheets print whole numbers as 5.0.
WHOLE = re.compile(r"([+-]?\d{1,12})(?:\.0+)?", re.ASCII)
AMOUNT = re.compile(r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})", re.ASCII)
NOBODY = frozenset({"", "nan", "none", "null", "n/a", "na"})


@dataclass(frozen=True)
class Reason:
    """Why a row or an invoice was rejected; ``kind`` is a word or two to count by."""

    what: str  #: "row" or "invoice"
    kind: str
    text: str


@dataclass
class Reading:
    """What a file held: good orders, and why the rest is none."""

    orders: list[Order] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  #: how the file as a whole was understood

    @property
    def rejected_rows(self) -> list[str]:
        return [reason.text for reason in self.reasons if reason.what == "row"]

    @property
    def rejected_invoices(self) -> list[str]:
        return [reason.text for reason in self.reasons if reason.what == "invoice"]

    def reject(self, what: str, where: str, error: InvalidOrder) -> None:
        """Keep a reason."""
        self.reasons.append(Reason(what, error.kind, f"{where}{error}"))

    def counted(self) -> dict[str, int]:
        """How many rows and invoices were rejected for what, the most first."""
        return dict(Counter(f"{reason.what}: {reason.kind}" for reason in self.reasons).most_common())


@dataclass
class _Draft:
    """An invoice while its rows come in."""

    order: Order
    row: int  #: where it begins
    lines: list[tuple[int, Line]] = field(default_factory=list)
    fault: InvalidOrder | None = None


def read_orders(path: Path, limit: int | None = None) -> Reading:
    """Read up to ``limit`` good orders. Prices are exact; pence are rounded half-up after multiplying.

    An invoice is an order only if all its rows could be read: a row that is left out would change what is charged.
    Rows that cost nothing are left out. Raises UnreadableFile when the file is missing, is no text, or lacks columns.
    """
    rows = read_rows(path, COLUMNS)
    convention = detect(row.values["InvoiceDate"] for row in rows if not row.fault)
    reading = Reading(notes=_notes(rows, convention))
    for draft in _drafts(rows, convention, reading).values():
        _finish(draft, reading)
    reading.orders = reading.orders[:limit]
    return reading


def _notes(rows: list[Row], convention: Convention) -> list[str]:
    foreign = [str(row.number) for row in rows if row.foreign and not row.fault]
    told = f"rows that are not UTF-8 were read as Windows-1252: {', '.join(foreign[:8])}{' …' if foreign[8:] else ''}"
    return [convention.reason] * bool(convention.reason) + [told] * bool(foreign)


def _drafts(rows: Iterable[Row], convention: Convention, reading: Reading) -> dict[str, _Draft]:
    drafts: dict[str, _Draft] = {}
    spoiled: dict[str, InvalidOrder] = {}
    for row in rows:
        try:
            _add(drafts, row, convention)
        except InvalidOrder as error:
            reading.reject("row", f"row {row.number}: ", error)
            if error.kind != "free":
                told = f"invoice {row.values['InvoiceNo']}: row {row.number} cannot be read"
                spoiled.setdefault(row.values["InvoiceNo"], InvalidOrder(told, "unreadable row"))
    for invoice in spoiled.keys() & drafts.keys():
        drafts[invoice].fault = drafts[invoice].fault or spoiled[invoice]
    return drafts


def _add(drafts: dict[str, _Draft], row: Row, convention: Convention) -> None:
    if row.fault:
        raise row.fault
    invoice = row.values["InvoiceNo"]
    if not invoice:
        raise InvalidOrder("no invoice number", "no invoice number")
    when = convention.read(row.values["InvoiceDate"])
    if invoice not in drafts:
        drafts[invoice] = _Draft(Order(invoice, _customer(row), row.values["Country"], when), row.number)
    _agree(drafts[invoice], row)
    drafts[invoice].lines.append((row.number, _line(row)))


def _agree(draft: _Draft, row: Row) -> None:
    """All rows of an invoice are for one customer in one country; a row may leave either out."""
    order = draft.order
    for what, have, new in (
        ("customers", order.customer, _customer(row)),
        ("countries", order.country, row.values["Country"]),
    ):
        if have and new and have != new and draft.fault is None:
            told = f"invoice {order.invoice} has two {what}: {have} (row {draft.row}) and {new} (row {row.number})"
            draft.fault = InvalidOrder(told, f"two {what}")
    order.customer = order.customer or _customer(row)
    order.country = order.country or row.values["Country"]


def _line(row: Row) -> Line:
    quantity, price = _quantity(row.values["Quantity"]), row.values["UnitPrice"]
    pence = _pence(price)
    if pence < 0 or (pence == 0 and quantity < 0):
        raise InvalidOrder(f"quantity {quantity} of {row.values['StockCode']} at {price}: no price", "price")
    if pence == 0:
        raise InvalidOrder(f"{row.values['StockCode']} costs nothing ({price})", "free")
    return Line(row.values["StockCode"], quantity, pence)


def _customer(row: Row) -> str:
    # Exported through a float column: 12923.0 is customer 12923, and nan is nobody.
    text = row.values["CustomerID"]
    return "" if text.lower() in NOBODY else text.removesuffix(".0")


def _quantity(text: str) -> int:
    found = WHOLE.fullmatch(text)
    if found is None or abs(int(found[1])) > MOST_PIECES:
        raise InvalidOrder(f"quantity {text!r} is no whole number up to {MOST_PIECES:,}", "quantity")
    if int(found[1]) == 0:
        raise InvalidOrder("quantity 0", "free")
    return int(found[1])


def _pence(text: str) -> Decimal:
    if not AMOUNT.fullmatch(text) or abs(Decimal(text)) > MOST_POUNDS:
        raise InvalidOrder(f"price {text!r} is no amount up to {MOST_POUNDS:,}", "price")
    return Decimal(text) * 100


def _finish(draft: _Draft, reading: Reading) -> None:
    order = draft.order
    cancelled = order.invoice.upper().startswith("C")
    unmatched = _net(draft)
    for number, line in unmatched:
        told = f"quantity {line.quantity} of {line.article} takes back what was not ordered (a cancellation)"
        reading.reject("row", f"row {number}: ", InvalidOrder(told, "cancellation"))
    try:
        _check(draft, cancelled=cancelled, unmatched=bool(unmatched))
    except InvalidOrder as error:
        reading.reject("invoice", "", error)
    else:
        reading.orders.append(order)


def _net(draft: _Draft) -> list[tuple[int, Line]]:
    """Take corrections off the lines with the same article and price; return those that match none."""
    left: dict[tuple[str, Decimal], int] = {}
    for _, line in draft.lines:
        if line.quantity > 0:
            left[line.article, line.pence] = left.get((line.article, line.pence), 0) + line.quantity
    unmatched = []
    for number, line in draft.lines:
        key = line.article, line.pence
        if line.quantity < 0 and left.get(key, 0) + line.quantity >= 0:
            left[key] += line.quantity
        elif line.quantity < 0:
            unmatched.append((number, line))
    draft.order.lines = [Line(article, quantity, pence) for (article, pence), quantity in left.items() if quantity]
    return unmatched


def _check(draft: _Draft, *, cancelled: bool, unmatched: bool) -> None:
    invoice = draft.order.invoice
    if cancelled:
        raise InvalidOrder(f"invoice {invoice} is a cancellation", "cancellation")
    if draft.fault:
        raise draft.fault
    if unmatched:
        raise InvalidOrder(f"invoice {invoice} takes back what it did not order", "cancellation")
    draft.order.check()
