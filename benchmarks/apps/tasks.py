"""The tasks that are measured; which Celery runs them, the environment says."""

from __future__ import annotations

import os
import time

import celeriac
from benchmarks.configs import CONFIGS

app = CONFIGS[os.environ["BENCH_CONFIG"]].make(os.environ["BENCH_BROKER"])


@app.task(name="bench.noop")
def noop() -> None:
    """Nothing, as fast as it goes."""


@app.task(name="bench.counted")
def counted(values: list[None]) -> int:
    """A chord's body: of how many members it was given the results."""
    return len(values)


@app.task(name="bench.started")
def started(published: float) -> float:
    """Seconds from publish to start; the monotonic clock is the machine's."""
    return time.monotonic() - published


@app.task(name="bench.unlucky")
def unlucky(number: int) -> None:
    """Gives up."""
    raise ValueError(f"no luck with {number}")


@app.task(name="bench.one_at_once", **({"limits": celeriac.Concurrency(1)} if isinstance(app, celeriac.Celery) else {}))
def one_at_once(seconds: float) -> None:
    """Holds its slot."""
    time.sleep(seconds)


@app.task(name="bench.turn", **({"limits": celeriac.FairShare("{key}")} if isinstance(app, celeriac.Celery) else {}))
def turn(key: str) -> None:
    """A task of one key among others'."""
    time.sleep(0.02)


@app.task(name="bench.guarded", **({"circuits": celeriac.Circuit("quiet")} if isinstance(app, celeriac.Celery) else {}))
def guarded() -> None:
    """Nothing, behind a circuit that is closed."""


@app.task(
    name="bench.behind",
    **({"circuits": celeriac.Circuit("gateway", open_for=0.5)} if isinstance(app, celeriac.Celery) else {}),
)
def behind() -> None:
    """Waits behind a circuit that is open."""
