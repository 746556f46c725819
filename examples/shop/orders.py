"""What the shop knows of an order. No framework, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

#: What becomes of an order; the last four are final.
PLACED, VALIDATED, CHARGING, CHARGED = "placed", "validated", "charging", "charged"
CONFIRMED, DECLINED, REFUSED, EXPIRED = "confirmed", "declined", "refused", "expired"
FINAL = frozenset({CONFIRMED, DECLINED, REFUSED, EXPIRED})
#: From which states an order may come into each. CHARGING is entered again by a retry, never by way of EXPIRED.
BEFORE: dict[str, tuple[str, ...]] = {
    VALIDATED: (PLACED,),
    CHARGING: (VALIDATED, CHARGING),
    CHARGED: (CHARGING,),
    CONFIRMED: (CHARGED,),
    DECLINED: (CHARGING,),
    REFUSED: (CHARGING,),
    EXPIRED: (PLACED, VALIDATED),
}
#: What a customer's number is made of: it becomes part of a mail address.
CUSTOMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Pence; larger sums are slips of a key.
MOST_PENCE = 10**11


class InvalidOrder(Exception):
    """An order that cannot be what the customer meant; ``kind`` is a word or two to count by."""

    def __init__(self, text: str, kind: str = "invalid order") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Line:
    """One article; the price of a piece is in pence, and may have fractions of one."""

    article: str
    quantity: int
    pence: Decimal

    @property
    def total(self) -> int:
        """Whole pence, rounded half-up, and only after multiplying: 8 at 12.5 are 100, not 96."""
        return int((self.quantity * self.pence).quantize(Decimal(1), ROUND_HALF_UP))


@dataclass
class Order:
    """One invoice, as it is placed."""

    invoice: str
    customer: str
    country: str
    placed_at: datetime
    lines: list[Line] = field(default_factory=list)

    @property
    def pence(self) -> int:
        """What the customer owes, in pence."""
        return sum(line.total for line in self.lines)

    def check(self) -> None:
        """Raise InvalidOrder, saying why, for an order that must not be charged."""
        if not self.customer:
            raise InvalidOrder(f"invoice {self.invoice} has no customer", "no customer")
        if not CUSTOMER.fullmatch(self.customer):
            raise InvalidOrder(f"invoice {self.invoice}: {self.customer!r} is no customer number", "no customer")
        if not self.lines:
            raise InvalidOrder(f"invoice {self.invoice} has no lines that can be sold", "no lines")
        if not 0 < self.pence <= MOST_PENCE:
            raise InvalidOrder(f"invoice {self.invoice} adds up to {self.pence} pence", "sum")
