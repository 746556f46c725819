"""The execution room of an app is opened: its settler, and for how long it remembers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import signals

from celeriac.core.attempt import Attempt
from celeriac.execution.pipeline import unrecordable
from celeriac.execution.room import Room
from celeriac.execution.settler import Settler
from celeriac.settings import copies_come_for
from celeriac.transport.base import StoreTransport


def open_room(app: Any, dispatch: Callable[[str], None]) -> Room:
    """What the pipeline needs of the app; ``dispatch`` sends the body of a chord that has all its parts."""
    settler = Settler(app.store, dispatch, refusing(app))
    StoreTransport.on_idle.append(settler.flush)
    # A pool's process that is replaced leaves without the threads that would do it.
    signals.worker_process_shutdown.connect(lambda **_: settler.finish(), weak=False)
    signals.worker_process_shutdown.connect(lambda **_: app.circuits.finish(), weak=False)
    return room_with(app, settler)


def refusing(app: Any) -> Callable[[Attempt, Exception], bool]:
    """What a settler of the app does with an end that the store refuses."""
    return lambda attempt, error: unrecordable(app.execution_room, attempt, error)


def room_with(app: Any, settler: Settler) -> Room:
    """The room round a settler, which nobody has told yet when to write what it has."""
    return Room(
        app.store,
        settler,
        own=app.own_settings,
        lease=app.keeper.lease,
        given_up=app.keeper.given_up,
        queues=app.amqp.queues.limited,
        retries_undeclared=app.defaults == "safe",
        remembered=remembered(app),
    )


def remembered(app: Any) -> float | None:
    """Seconds for which an end is known; a broker beside the ledger may deliver a copy of what is long over."""
    expires = _seconds(app.backend.expires)
    if expires is None or app.ledger_beside is None:
        return expires
    return max(expires, copies_come_for(app.conf))


def _seconds(expires: Any) -> float | None:
    """How long results are kept; some of Celery's backends say it as a timedelta."""
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    return float(expires) if expires else None
