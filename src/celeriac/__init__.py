"""celeriac: the root under a Celery app."""

from celeriac.app import Celery
from celeriac.core.circuit import Circuit
from celeriac.core.limits import Concurrency, FairShare, Rate
from celeriac.core.retries import Retries
from celeriac.execution.circuits import CircuitOpen
from celeriac.execution.snoozing import Snooze
from celeriac.publish.queues import Queue
from celeriac.results.blocked import WorkflowBlocked, WorkflowFailed
from celeriac.transport.unavailable import BrokerUnavailable

__all__ = [
    "BrokerUnavailable",
    "Celery",
    "Circuit",
    "CircuitOpen",
    "Concurrency",
    "FairShare",
    "Queue",
    "Rate",
    "Retries",
    "Snooze",
    "WorkflowBlocked",
    "WorkflowFailed",
]
__version__ = "0.1.0"
