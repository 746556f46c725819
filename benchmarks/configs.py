"""What is compared: one entry a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import celery

import celeriac


@dataclass(frozen=True)
class Config:
    """A way to run Celery."""

    name: str
    label: str
    make: Callable[[str], Any]
    #: What the broker is: redis, sqlite, postgres, redis+streams.
    server: str = "redis"


def _stock(broker: str) -> Any:
    return celery.Celery("bench", broker=broker, backend=broker)


def _tuned(broker: str) -> Any:
    # hiredis is used by itself where it is installed, as it is here for both.
    app = celery.Celery("bench", broker=broker, backend=broker)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=16, task_reject_on_worker_lost=True)
    return app


def _celeriac(broker: str) -> Any:
    return celeriac.Celery("bench", broker=broker)


CONFIGS = {
    config.name: config
    for config in (
        Config("stock", "Celery on Redis, defaults", _stock),
        Config("tuned", "Celery on Redis, late acks, prefetch 16, hiredis", _tuned),
        Config("celeriac", "celeriac on one SQLite file, defaults", _celeriac, server="sqlite"),
        Config("postgres", "celeriac on PostgreSQL, defaults", _celeriac, server="postgres"),
        Config("streams", "celeriac on the same Redis, defaults", _celeriac, server="redis+streams"),
    )
}
