"""Found by autodiscover_tasks()."""

from celery import shared_task

from shop.models import Order


@shared_task
def name_of(order_id: int) -> str:
    return Order.objects.get(pk=order_id).name
