"""Where celeriac stands in Celery's and kombu's places, for all apps of the process; change this when they move."""

from __future__ import annotations

from typing import Any

from celery._state import connect_on_app_finalize
from celery.app import backends

from celeriac.app.placed import Placed
from celeriac.execution.rest import add_rest_task
from celeriac.publish import outgoing
from celeriac.publish.canvas import take_canvases_over
from celeriac.publish.mending import mend_canvases
from celeriac.transport import postgres, redis, sqlite
from celeriac.transport.base import StoreTransport
from celeriac.transport.rabbitmq import client as amqp_client

#: What our workers do beside running tasks.
WORKER_STEPS = (
    "celeriac.worker.maintenance:Maintenance",
    "celeriac.worker.outboxes:Outboxes",
    "celeriac.worker.relay:Relay",
    "celeriac.worker.grace:Grace",
    "celeriac.worker.ending:Ending",
)
CONSUMER_STEPS = ("celeriac.worker.given_up:GivenUp", "celeriac.worker.pausing:PausedQueues")


def take_places() -> None:
    """Name the transports and the result backend, put our canvases and our way of sending in, add our tasks to our apps."""
    # kombu has no entry point for transports, and Celery's for backends is missing
    # where celeriac is run from a checkout.
    for transport in (sqlite, postgres, amqp_client, redis):
        transport.register()
    for scheme in ("sqlite", "postgresql", "postgres", *redis.SCHEMES):
        backends.BACKEND_ALIASES[scheme] = "celeriac.results.backend:LedgerBackend"
    take_canvases_over()
    mend_canvases()
    StoreTransport.send = staticmethod(outgoing.send)  # type: ignore[method-assign]  # the seam between the rooms
    connect_on_app_finalize(_add_own_tasks)


def _add_own_tasks(app: Any) -> None:
    if isinstance(app, Placed):
        add_rest_task(app)
