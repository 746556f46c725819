"""Configuration and the Celery app."""
