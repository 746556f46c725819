"""The Celery app, and the one place where the shop chooses between celeriac and stock Celery."""

from __future__ import annotations

from typing import Any

from app.core.config import settings
from celery.schedules import crontab

if settings.SHOP_STOCK:
    import celery

    class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
        """Stock Celery; it would ignore the options that only celeriac knows."""

        def task(self, *args: Any, **options: Any) -> Any:
            options.pop("idempotency_key", None)
            return super().task(*args, **options)
else:
    from celeriac import Celery  # the one changed import

celery_app = Celery(
    "shop",
    broker=settings.CELERY_BROKER_URL,
    backend=settings.CELERY_RESULT_BACKEND or None,
)
celery_app.autodiscover_tasks(["app.tasks"], related_name=None)


def send_workflow(canvas: Any, name: str) -> Any:
    """Send a canvas under a name by which people find it; stock Celery knows no names, and nothing to find it with."""
    return canvas.apply_async() if settings.SHOP_STOCK else celery_app.workflows.send(canvas, name=name)


prefix = settings.SHOP_QUEUE_PREFIX
celery_app.conf.task_default_queue = f"{prefix}celery"
celery_app.conf.task_routes = {
    "app.tasks.orders.charge_payment": {"queue": f"{prefix}payments"},
    "app.tasks.orders.confirm_order": {"queue": f"{prefix}notifications"},
    "app.tasks.reports.*": {"queue": f"{prefix}reports"},
}
celery_app.conf.beat_schedule = {
    "expire-abandoned-orders": {"task": "app.tasks.orders.expire_abandoned_orders", "schedule": 3600.0},
    "nightly-report": {"task": "app.tasks.reports.nightly_report", "schedule": crontab(hour=2, minute=0)},
}
