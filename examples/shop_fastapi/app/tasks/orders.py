"""An order's way: validate → charge → confirm. Each step takes an id and can be repeated."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

from app.core.celery import celery_app
from app.core.config import settings
from celery import chain
from shop import clients, orders
from shop.clients import Declined, GatewayRefused
from shop.repository import OrderRepository

from celeriac import Circuit, Concurrency

repository = OrderRepository(settings.database)
#: Seconds after which an order that was never charged is given up.
ABANDONED = 24 * 3600.0
#: While every second call fails, none is made: charges wait, and keep their retries.
GATEWAY = Circuit("gateway", window=4, minimum=3, open_for=2, on=(ConnectionError, TimeoutError))


def process(order_id: int) -> Any:
    """Start an order on its way."""
    return chain(validate_order.s(order_id), charge_payment.s(), confirm_order.s()).apply_async()


def known(order_id: int) -> Row:
    """The order; an id that is none will not become one, so the error is for good."""
    order = repository.get(order_id)
    if order is None:
        raise orders.InvalidOrder(f"order {order_id} does not exist in {repository.path}", "missing")
    return order


@celery_app.task
def validate_order(order_id: int) -> int:
    """Refuse what must not be charged."""
    order = known(order_id)
    if order["pence"] <= 0:
        raise orders.InvalidOrder(f"order {order_id} adds up to {order['pence']} pence", "sum")
    repository.advance(order_id, orders.VALIDATED)
    return order_id


def customer_of(order_id: int) -> str:
    """Whose order it is: a customer's orders are charged one after the other."""
    return str(known(order_id)["customer"])


@celery_app.task(
    idempotency_key="charge:{order_id}",
    limits=Concurrency(1, key=customer_of),
    circuits=GATEWAY,
    autoretry_for=(ConnectionError, TimeoutError),
    max_retries=8,
    retry_backoff=True,
    retry_backoff_max=600,
    retry_jitter=True,
    throws=(Declined,),
)
def charge_payment(order_id: int) -> int:
    """Charge an order once. The key goes to the gateway too, which may have booked what it never answered.

    A gateway that is busy says for how long, and is not asked again before that.
    """
    order = known(order_id)
    if order["charge"]:
        return order_id  # an earlier run got this far
    begin_charging(order_id)
    try:
        charge = clients.charge(
            settings.SHOP_GATEWAY_URL, order_id, order["pence"], key=f"charge:{order_id}", customer=order["customer"]
        )
    except Declined:
        repository.advance(order_id, orders.DECLINED)
        raise
    except GatewayRefused:
        repository.advance(order_id, orders.REFUSED)
        raise
    repository.advance(order_id, orders.CHARGED, charge=charge)
    return order_id


def begin_charging(order_id: int) -> None:
    """From here on the clean-up leaves the order alone, whatever becomes of this process."""
    if not repository.advance(order_id, orders.CHARGING):
        status = known(order_id)["status"]
        # An earlier run heard the answer and died before it was settled: it is the same answer again.
        answers = {orders.DECLINED: Declined, orders.REFUSED: GatewayRefused}
        raise answers.get(status, orders.InvalidOrder)(f"order {order_id} is {status}: it cannot be charged")


@celery_app.task(
    idempotency_key="confirm:{order_id}",
    autoretry_for=(OSError,),
    max_retries=5,
    retry_backoff=True,
)
def confirm_order(order_id: int) -> int:
    """Tell the customer."""
    order = known(order_id)
    if order["status"] == orders.CONFIRMED:
        return order_id
    if order["status"] != orders.CHARGED:
        raise orders.InvalidOrder(f"order {order_id} is {order['status']}: only a charged order is confirmed", "state")
    recipient = f"customer{order['customer']}@mail.example"
    clients.send_confirmation(settings.SHOP_SMTP_HOST, int(settings.SHOP_SMTP_PORT), order_id, recipient)
    repository.advance(order_id, orders.CONFIRMED)
    return order_id


@celery_app.task
def expire_abandoned_orders() -> int:
    """Give up orders that never got as far as the gateway; beat sends this every hour."""
    return repository.expire(ABANDONED)
