"""What the blocks call: a repository, services and a gateway, each writing what it did to a file."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(os.environ.get("PATTERNS_FOLDER", "."))


def note(line: str) -> None:
    """One line of what happened; appending is atomic."""
    with (FOLDER / "journal").open("a") as journal:
        journal.write(f"{line}\n")


def times(line: str) -> int:
    """How often it happened."""
    journal = FOLDER / "journal"
    return journal.read_text().splitlines().count(line) if journal.exists() else 0


class OrderRepository:
    """Order 404 does not exist; a processed one says so."""

    @staticmethod
    def get_by_id(order_id: int) -> SimpleNamespace | None:
        if order_id == 404:
            return None
        status = "processed" if times(f"processed {order_id}") else "new"
        return SimpleNamespace(id=order_id, status=status)


class OrderService:
    """Processes."""

    @staticmethod
    def process(order: SimpleNamespace) -> None:
        note(f"processed {order.id}")


class PaymentGatewayUnavailable(Exception):
    """Try later."""


class PaymentGateway:
    """Is away at the first call of an order."""

    def charge(self, order_id: int) -> str:
        note(f"charge tried {order_id}")
        if times(f"charge tried {order_id}") < 2:
            raise PaymentGatewayUnavailable(order_id)
        note(f"charged {order_id}")
        return f"charge {order_id}"


payment_gateway = PaymentGateway()


def get_order(order_id: int) -> SimpleNamespace:
    return SimpleNamespace(id=order_id)


def notify_customer(order: SimpleNamespace) -> None:
    """Fails once with what `autoretry_for` names."""
    note(f"notify tried {order.id}")
    if times(f"notify tried {order.id}") < 2:
        raise ConnectionError("the mail server hung up")
    note(f"notified {order.id}")
