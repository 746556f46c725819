"""How fast does one worker drain a full queue of no-ops, results stored?

The rate is between a tenth and the last of the tasks, counted in the result
store from outside, so that start-up does not count.
"""

from __future__ import annotations

import statistics
import time

from benchmarks import harness
from benchmarks.harness import Figure

POOLS = {
    "solo": (["solo"], 6.0),
    "threads": (["threads", "-c", "10"], 6.0),
    "prefork 2": (["prefork", "-c", "2"], 4.5),
}
CONFIGS = ("stock", "tuned", "celeriac")


def rate(config: str, pool: list[str], tasks: int) -> float:
    """Tasks a second."""
    with harness.broker(config) as at:
        harness.publish(at, tasks)
        with harness.worker(at, pool):
            harness.wait_for(lambda: at.done() >= tasks // 10, "the first tenth")
            first, began = at.done(), time.monotonic()
            harness.wait_for(lambda: at.done() >= tasks, "the last task")
            return (tasks - first) / (time.monotonic() - began)


def measure(name: str, runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """One pool's figure; the configurations take turns."""
    pool, bar = POOLS[name]
    values: dict[str, list[float]] = {config: [] for config in CONFIGS}
    for turn in range(runs):
        for config in CONFIGS:
            say(f"drain, {name}: run {turn + 1} of {runs}, {config}")
            values[config].append(rate(config, pool, tasks))
    ratio = statistics.median(harness.ratios(values))
    return [Figure(f"drain, {name}", "tasks/s", values, f"{ratio:.2f} × stock; bar {bar} ×", ratio >= bar)]
