"""The shop's tasks."""

from app.tasks import orders, reports

__all__ = ["orders", "reports"]
