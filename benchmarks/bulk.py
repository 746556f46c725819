"""How fast does one process publish with ``send_tasks()``, and how much of that does a group keep?"""

from __future__ import annotations

import statistics

from benchmarks import harness
from benchmarks.harness import Figure

#: Tasks a second for each configuration.
BARS = {"celeriac": 50_000, "postgres": 30_000, "streams": 30_000}
COUNT = 10_000
CODE = """
from celery import group
for _ in range(200): noop.delay()
def timed(send):
    signatures = [noop.s() for _ in range({count})]
    began = time.perf_counter()
    send(signatures)
    return {count} / (time.perf_counter() - began)
timed(app.send_tasks)
print(json.dumps([timed(app.send_tasks), timed(lambda signatures: group(signatures).delay())]))
"""


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Tasks a second: 10,000 signatures sent together, and as a group."""
    sent: dict[str, list[float]] = {config: [] for config in BARS}
    grouped: dict[str, list[float]] = {config: [] for config in BARS}
    for turn in range(runs):
        for config in BARS:
            say(f"bulk: run {turn + 1} of {runs}, {config}")
            with harness.broker(config) as at:
                together, as_group = harness.client(at, CODE.format(count=COUNT))
                sent[config].append(together)
                grouped[config].append(as_group)
    return [*map(_figure, sent.items()), Figure("publish with a group", "tasks/s", grouped)]


def _figure(found: tuple[str, list[float]]) -> Figure:
    config, values = found
    met = statistics.median(values) >= BARS[config]
    return Figure("publish with send_tasks()", "tasks/s", {config: values}, f"bar {BARS[config]:,}/s", met)
