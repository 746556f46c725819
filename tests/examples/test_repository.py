"""The shop's database: each move is allowed or not by the state the order is in, in one statement."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

orders = import_module("shop.orders")
STATES = ("placed", "validated", "charging", "charged", "confirmed", "declined", "refused", "expired")


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    made = import_module("shop.repository").OrderRepository(tmp_path / "shop.db")
    made.create()
    return made


def order(invoice: str = "1", pence: int = 250) -> Any:
    lines = [orders.Line("A", 1, Decimal(pence))]
    return orders.Order(invoice, "7", "France", datetime(2025, 1, 6, tzinfo=timezone.utc), lines)


def in_state(repository: Any, status: str, *, age: float = 0.0) -> int:
    order_id = int(repository.place(order()))
    with closing(sqlite3.connect(repository.path)) as raw, raw:
        raw.execute("UPDATE shop_order SET status = ?, changed_at = changed_at - ?", (status, age))
    return order_id


def status(repository: Any, order_id: int) -> str:
    return str(repository.get(order_id)["status"])


def test_the_way_of_an_order(repository: Any) -> None:
    order_id = repository.place(order())
    for state in STATES[1:5]:
        assert repository.advance(order_id, state, charge="ch_1" if state == "charged" else None)
    row = repository.get(order_id)
    assert (row["status"], row["charge"], row["pence"]) == ("confirmed", "ch_1", 250)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("to", STATES[1:])
def test_only_the_moves_of_the_table_are_made(repository: Any, state: str, to: str) -> None:
    order_id = in_state(repository, state)
    moved = repository.advance(order_id, to)
    assert moved == (state in orders.BEFORE[to])
    assert status(repository, order_id) == (to if moved else state)


@pytest.mark.parametrize("state", STATES)
def test_the_clean_up_gives_up_only_what_was_never_charged(repository: Any, state: str) -> None:
    order_id = in_state(repository, state, age=3600.0)
    assert repository.expire(3000.0) == (1 if state in ("placed", "validated") else 0)
    assert status(repository, order_id) == ("expired" if state in ("placed", "validated") else state)


def test_the_clean_up_leaves_what_moved_lately(repository: Any) -> None:
    in_state(repository, "placed", age=2000.0)
    assert repository.expire(3000.0) == 0


def test_charging_and_expiring_at_once_has_one_winner(repository: Any) -> None:
    order_ids = [repository.place(order(str(number))) for number in range(20)]
    for order_id in order_ids:
        repository.advance(order_id, "validated")
    won: list[int] = []
    charging = threading.Thread(target=lambda: won.extend(i for i in order_ids if repository.advance(i, "charging")))
    charging.start()
    expired = sum(repository.expire(-1.0) for _ in range(10))
    charging.join()
    assert len(won) + expired == len(order_ids)
    assert {status(repository, order_id) for order_id in won} <= {"charging"}


def test_an_invoice_again_is_the_same_order_unless_it_differs(repository: Any) -> None:
    assert repository.place(order()) == repository.place(order())
    with pytest.raises(import_module("shop.repository").ConflictingOrder, match="invoice 1 is order 1 already"):
        repository.place(order(pence=251))
    assert repository.counts() == {"placed": 1}


def test_what_is_missing_is_none_and_moves_nowhere(repository: Any) -> None:
    assert repository.get(99) is None
    assert not repository.advance(99, "validated")


def test_figures_are_of_confirmed_orders(repository: Any) -> None:
    in_state(repository, "confirmed")
    repository.place(order("2"))
    assert repository.countries() == ["France"]
    assert repository.figures("France") == (1, 250)
    assert repository.figures("Norway") == (0, 0)
    assert repository.ids() == {1: "confirmed", 2: "placed"}
    assert [row["invoice"] for row in repository.latest(1)] == ["2"]


def test_a_step_of_a_report_that_is_done_again_shows(repository: Any) -> None:
    for day, step in [("2026-01-01", "mail"), ("2026-01-02", "mail"), ("2026-01-02", "close"), ("2026-01-02", "mail")]:
        repository.note_step(day, step)
    assert repository.steps("2026-01-02") == {"mail": 2, "close": 1}
