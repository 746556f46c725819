"""celeriac: the root under a Celery app."""

from celeriac.app import Celery
from celeriac.core.limits import Concurrency, FairShare, Rate
from celeriac.core.retries import Retries
from celeriac.publish.amqp import BrokerUnavailable
from celeriac.publish.queues import Queue

__all__ = ["BrokerUnavailable", "Celery", "Concurrency", "FairShare", "Queue", "Rate", "Retries"]
__version__ = "0.1.0"
