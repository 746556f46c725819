"""Tasks that fail until a file says that the world is repaired."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celeriac import Celery

#: Where the worker's and the command's processes find the store.
DATABASE = "DEAD_LETTERS_DATABASE"


def shop(database: Path) -> Celery:
    """The app on a store; ``repaired`` beside it ends the failures. Its tasks are no other app's."""
    made = Celery("shop", broker=f"sqlite:///{database}", set_as_current=False)
    repaired = database.with_name("repaired")

    @made.task(name="shop.charge", shared=False, bind=True, max_retries=2)
    def charge(self: Any, order_id: int, currency: str = "EUR") -> str:
        if repaired.exists():
            return f"{order_id} {currency}, retries {self.request.retries}"
        raise self.retry(exc=ConnectionError(f"gateway refused order {order_id}"), countdown=0.01)

    @made.task(name="shop.confirm", shared=False)
    def confirm(charged: str) -> str:
        return f"confirmed {charged}"

    @made.task(name="shop.capture", shared=False, idempotency_key="capture:{order_id}")
    def capture(order_id: int) -> None:
        raise ValueError(f"no amount for order {order_id}")

    @made.task(name="reports.figure", shared=False)
    def figure(number: int) -> int:
        if number or repaired.exists():
            return number
        raise ValueError("no figure yet")

    @made.task(name="reports.total", shared=False)
    def total(figures: list[int]) -> int:
        return sum(figures)

    return made


if DATABASE in os.environ:
    app = shop(Path(os.environ[DATABASE]))
