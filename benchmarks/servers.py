"""How fast does one worker drain a queue on PostgreSQL, beside stock Celery on Redis; and do four do more than one?"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from benchmarks import harness
from benchmarks.drain import rate
from benchmarks.harness import Figure

BAR, FOUR_BAR = 3.0, 1.6
SOLO = ["solo"]


def several(config: str, workers: int, tasks: int) -> float:
    """Tasks a second of so many worker processes together."""
    with harness.broker(config) as at, ExitStack() as stack:
        harness.publish(at, tasks)
        for number in range(workers):
            stack.enter_context(harness.worker(at, [*SOLO, "-n", f"bench{number}@%h"]))
        harness.wait_for(lambda: at.done() >= tasks // 10, "the first tenth")
        first, began = at.done(), time.monotonic()
        harness.wait_for(lambda: at.done() >= tasks, "the last task")
        return (tasks - first) / (time.monotonic() - began)


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """One process against stock Celery, and four against one."""
    values: dict[str, list[float]] = {"stock": [], "postgres": []}
    for turn in range(runs):
        for config, found in values.items():
            say(f"servers, solo: run {turn + 1} of {runs}, {config}")
            found.append(rate(config, SOLO, tasks))
    ratio = statistics.median(ours / stock for stock, ours in zip(*values.values(), strict=True))
    figures = [
        Figure("PostgreSQL, drain, solo", "tasks/s", values, f"{ratio:.2f} × stock on Redis; bar {BAR} ×", ratio >= BAR)
    ]
    beside: dict[str, list[float]] = {"1 worker": [], "4 workers": []}
    for turn in range(runs):
        for name, found in beside.items():
            say(f"servers, {name}: run {turn + 1} of {runs}")
            found.append(several("postgres", int(name[0]), tasks))
    ratio = statistics.median(four / one for one, four in zip(*beside.values(), strict=True))
    figures.append(
        Figure("PostgreSQL, workers", "tasks/s", beside, f"{ratio:.2f} × one; bar {FOUR_BAR} ×", ratio >= FOUR_BAR)
    )
    return figures
