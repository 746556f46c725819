"""The ledger as a Celery result backend."""
