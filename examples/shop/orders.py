"""What the shop knows of an order. No framework, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

#: What becomes of an order; the last four are final.
PLACED, VALIDATED, CHARGED = "placed", "validated", "charged"
CONFIRMED, DECLINED, REFUSED, EXPIRED = "confirmed", "declined", "refused", "expired"
FINAL = frozenset({CONFIRMED, DECLINED, REFUSED, EXPIRED})


class InvalidOrder(Exception):
    """An order that cannot be what the customer meant."""


@dataclass(frozen=True)
class Line:
    """One article; the price is in pence."""

    article: str
    quantity: int
    pence: int


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
        return sum(line.quantity * line.pence for line in self.lines)

    def check(self) -> None:
        """Raise InvalidOrder, saying why, for an order that must not be charged."""
        if not self.customer:
            raise InvalidOrder(f"invoice {self.invoice} has no customer")
        if not self.lines:
            raise InvalidOrder(f"invoice {self.invoice} has no lines that can be sold")
        if self.pence <= 0:
            raise InvalidOrder(f"invoice {self.invoice} adds up to {self.pence} pence")
