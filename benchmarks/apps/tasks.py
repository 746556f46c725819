"""The tasks that are measured; which Celery runs them, the environment says."""

from __future__ import annotations

import os
import time

from benchmarks.configs import CONFIGS

app = CONFIGS[os.environ["BENCH_CONFIG"]].make(os.environ["BENCH_BROKER"])


@app.task(name="bench.noop")
def noop() -> None:
    """Nothing, as fast as it goes."""


@app.task(name="bench.started")
def started(published: float) -> float:
    """Seconds from publish to start; the monotonic clock is the machine's."""
    return time.monotonic() - published
