"""The web process: takes orders, and shows them moving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from app.core.config import settings
from app.tasks import orders as tasks
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from shop.orders import InvalidOrder, Line, Order
from shop.repository import ConflictingOrder, OrderRepository

repository = OrderRepository(settings.database)
PAGE = Path(__file__).with_name("page.html")


class LineIn(BaseModel):
    """One article of an order; the price of a piece is in pence, and may have fractions of one."""

    article: str
    quantity: int = Field(gt=0, le=1_000_000)
    pence: Decimal = Field(gt=0, le=100_000_000, decimal_places=12)


class OrderIn(BaseModel):
    """An order as a customer sends it."""

    invoice: str = Field(min_length=1, max_length=64)
    customer: str
    country: str
    lines: list[LineIn]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the shop's tables before the first request."""
    repository.create()
    yield


app = FastAPI(title="shop", lifespan=lifespan)


@app.post("/orders", status_code=202)
def place_order(given: OrderIn) -> dict[str, object]:
    """Accept an order: from the answer on, it is not lost. Sent again it is the same order."""
    order = Order(given.invoice, given.customer, given.country, datetime.now(timezone.utc))
    order.lines = [Line(line.article, line.quantity, line.pence) for line in given.lines]
    try:
        order.check()
        order_id = repository.place(order)
    except ConflictingOrder as error:
        raise HTTPException(409, str(error)) from error
    except InvalidOrder as error:
        raise HTTPException(422, str(error)) from error
    return {"order_id": order_id, "task_id": tasks.process(order_id).id}


@app.get("/orders/{order_id}")
def show_order(order_id: int) -> dict[str, object]:
    """How far an order has come."""
    order = repository.get(order_id)
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return dict(order)


@app.get("/summary")
def summary() -> dict[str, object]:
    """What the page shows."""
    return {"counts": repository.counts(), "latest": repository.latest()}


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """Orders moving."""
    return PAGE.read_text(encoding="utf-8")
