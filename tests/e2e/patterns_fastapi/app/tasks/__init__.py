"""The blocks of sections 1, 2 and 4 as they stand, and what they need beside them."""

from app.core.celery import celery_app
from app.domain import (
    OrderRepository,
    OrderService,
    PaymentGatewayUnavailable,
    get_order,
    note,
    notify_customer,
    payment_gateway,
)


@celery_app.task(bind=True, max_retries=3)
def process_order(self, order_id: int) -> None:
    """Process a single order. Idempotent — safe to retry."""
    order = OrderRepository.get_by_id(order_id)  # sync DB call in Celery worker
    if order is None:
        return  # already processed or deleted
    if order.status == "processed":
        return  # idempotent check
    OrderService.process(order)


@celery_app.task(
    bind=True,
    autoretry_for=(ConnectionError, TimeoutError),
    max_retries=3,
    retry_backoff=True,
    retry_backoff_max=600,
    retry_jitter=True,
)
def send_notification(self, order_id: int) -> None:
    order = get_order(order_id)
    notify_customer(order)


# Manual retry with custom logic; 60 seconds are a fraction of one here.
@celery_app.task(bind=True, max_retries=5)
def charge_payment(self, order_id: int) -> None:
    try:
        result = payment_gateway.charge(order_id)
    except PaymentGatewayUnavailable as exc:
        raise self.retry(exc=exc, countdown=0.06 * (2**self.request.retries))
    return order_id if result else None


@celery_app.task
def validate_order(order_id: int) -> int:
    note(f"validated {order_id}")
    return order_id


@celery_app.task
def send_confirmation(order_id: int) -> str:
    note(f"confirmed {order_id}")
    return f"confirmed {order_id}"


@celery_app.task
def process_payment(order_id: int) -> str:
    return f"paid {order_id}"


@celery_app.task
def generate_report(day: str) -> str:
    return f"report of {day}"


@celery_app.task
def fetch(url: str) -> str:
    return f"body of {url}"


@celery_app.task
def parse(body: str) -> list[str]:
    return body.split()


@celery_app.task
def store(words: list[str]) -> int:
    return len(words)


@celery_app.task
def process_item(item_id: int) -> int:
    return item_id * 2


@celery_app.task
def fetch_price(symbol: str) -> int:
    return len(symbol)


@celery_app.task
def aggregate_prices(prices: list[int]) -> int:
    return sum(prices)


@celery_app.task
def cleanup_expired_orders() -> None:
    note("cleaned up")
