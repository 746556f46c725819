"""The block of section 5, one import changed, and the configuration of sections 3 and 5."""

from app.core.config import settings
from celeriac import Celery

celery_app = Celery(
    "app",
    broker=settings.CELERY_BROKER_URL,
    backend=settings.CELERY_RESULT_BACKEND,
)
celery_app.autodiscover_tasks(["app.tasks"], related_name=None)

# celery config
task_routes = {
    "app.tasks.send_notification": {"queue": "notifications"},
    "app.tasks.process_payment": {"queue": "payments"},
    "app.tasks.generate_report": {"queue": "reports"},
}
celery_app.conf.task_routes = task_routes

# Periodic tasks (Beat)
celery_app.conf.beat_schedule = {
    "cleanup-expired-orders": {
        "task": "app.tasks.cleanup_expired_orders",
        "schedule": 3600.0,  # every hour
    },
    # The same entry at a pace that a test can wait for.
    "cleanup-soon": {"task": "app.tasks.cleanup_expired_orders", "schedule": 0.5},
}
