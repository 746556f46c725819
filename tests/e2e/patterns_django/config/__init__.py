"""A Django project laid out as the patterns have it."""

from config.celery import app

__all__ = ["app"]
