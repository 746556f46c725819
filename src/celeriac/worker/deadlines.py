"""Which pools have their tasks' time limits watched in the worker's own process, and what ends one that is stuck."""

from __future__ import annotations

import logging
import os
from typing import Any, cast

from celery.concurrency import get_implementation
from celery.platforms import EX_FAILURE

from celeriac.execution.deadlines import Deadlines, Kind
from celeriac.worker.grace import hand_back

logger = logging.getLogger(__name__)

_KINDS = {f"celery.concurrency.{kind}": kind for kind in ("solo", "thread", "gevent")}


def watch_limits(app: Any, pool_cls: Any) -> None:
    """Have a worker's process see to time limits, where its pool leaves them alone; under ``defaults="celery"`` it is left so."""
    kind = _KINDS.get(get_implementation(pool_cls).__module__)
    if kind is not None and app.defaults == "safe":
        app.execution_room.deadlines = Deadlines(cast("Kind", kind), lambda: _end(app))


def _end(app: Any) -> None:
    """Whoever supervises the worker starts another, which goes on."""
    try:
        hand_back(app.keeper)
    except Exception:
        logger.exception("what waited in this worker could not be handed back; it is another's when its lease is over")
    finally:
        os._exit(EX_FAILURE)
