"""How fast does one process publish with ``delay()``, results enabled?"""

from __future__ import annotations

import statistics

from benchmarks import harness
from benchmarks.harness import Figure

CONFIGS = ("stock", "celeriac")
BAR = 3.0
CODE = """
for _ in range(200): noop.delay()
began = time.perf_counter()
for _ in range({count}): noop.delay()
print(json.dumps({count} / (time.perf_counter() - began)))
"""


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Publishes a second."""
    values: dict[str, list[float]] = {config: [] for config in CONFIGS}
    for turn in range(runs):
        for config in CONFIGS:
            say(f"publish: run {turn + 1} of {runs}, {config}")
            with harness.broker(config) as at:
                values[config].append(float(harness.client(at, CODE.format(count=max(1000, tasks // 4)))))
    ratio = statistics.median(harness.ratios(values))
    return [Figure("publish with delay()", "messages/s", values, f"{ratio:.2f} × stock; bar {BAR} ×", ratio >= BAR)]
