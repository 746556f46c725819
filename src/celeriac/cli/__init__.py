"""Commands under ``celery -A app …``: thin shells over functions of the rooms below."""
