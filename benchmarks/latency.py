"""How long from publish to start on an idle worker, at random gaps?"""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

from benchmarks import harness
from benchmarks.harness import Figure

CONFIGS = ("stock", "celeriac")
#: Bars in milliseconds: median, and the 99th of a hundred.
P50, P99 = 5.0, 20.0
CODE = """
draw, found = random.Random(3), []
started.delay(time.monotonic()).get(timeout=60)
for _ in range({count}):
    time.sleep(draw.uniform({shortest}, {longest}))
    found.append(started.delay(time.monotonic()).get(timeout=60) * 1000)
print(json.dumps(found))
"""


def _delays(config: str, gaps: dict[str, float]) -> list[float]:
    with harness.broker(config) as at, harness.worker(at, ["prefork", "-c", "2"]):
        return list(harness.client(at, CODE.format(**gaps)))


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Milliseconds; 500 publishes in a full run, fewer and closer in a quick one.

    The configurations go side by side: either is idle nearly all the time, and the machine is the same to both.
    """
    full = runs >= 5
    gaps = {"count": 500, "shortest": 0.5, "longest": 2.0} if full else {"count": 60, "shortest": 0.1, "longest": 0.4}
    say(f"latency: {gaps['count']} publishes, {' and '.join(CONFIGS)}")
    with ThreadPoolExecutor() as pool:
        values = dict(zip(CONFIGS, pool.map(lambda config: _delays(config, gaps), CONFIGS), strict=True))
    p50, p99 = (statistics.quantiles(values["celeriac"], n=100)[place] for place in (49, 98))
    bar = f"p50 {p50:.1f}, p99 {p99:.1f} ms; bar {P50:.0f} and {P99:.0f} ms"
    return [Figure("publish to start", "ms", values, bar, p50 <= P50 and p99 <= P99)]
