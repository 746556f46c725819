"""celeriac: the root under a Celery app."""

from celeriac.app import Celery
from celeriac.core.retries import Retries

__all__ = ["Celery", "Retries"]
__version__ = "0.1.0"
