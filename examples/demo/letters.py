"""Dead letters, as far as they are about orders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: The tasks that take an order's number.
TASKS = "app.tasks.orders."


def order_of(letter: dict[str, Any]) -> int | None:
    """The order whose chain ended here; None for the letter of a report, or one that nobody could read."""
    if not str(letter.get("task") or "").startswith(TASKS):
        return None
    given = [*(letter.get("args") or []), (letter.get("kwargs") or {}).get("order_id")]
    return next((value for value in given if isinstance(value, int) and not isinstance(value, bool)), None)


def about_orders(letters: Iterable[dict[str, Any]]) -> dict[int, str]:
    """Each order with a dead letter, and why it has one."""
    found = {}
    for letter in letters:
        order_id = order_of(letter)
        if order_id is not None:
            found[order_id] = f"{letter['task']}: {letter.get('error_type') or letter.get('reason')}: {letter['error']}"
    return found
