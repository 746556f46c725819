"""What does an idle worker cost, the whole process tree, at the same settings?"""

from __future__ import annotations

import time

from benchmarks import harness
from benchmarks.harness import Figure

CONFIGS = ("stock", "celeriac")
#: Percent of a core.
BAR = 1.0


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Percent of a core over a minute, or over 15 s in a quick run."""
    span = 60.0 if runs >= 5 else 15.0
    values: dict[str, list[float]] = {}
    for config in CONFIGS:
        say(f"idle: {span:.0f} s, {config}")
        with harness.broker(config) as at, harness.worker(at, ["prefork", "-c", "2"]) as running:
            harness.client(at, "print(json.dumps(noop.delay().get(timeout=60)))")
            time.sleep(5)  # start-up is over
            before = running.cpu()
            time.sleep(span)
            values[config] = [(running.cpu() - before) / span * 100]
    cost = values["celeriac"][0]
    return [Figure("idle worker, prefork 2", "% of a core", values, f"{cost:.2f} %; bar {BAR} %", cost <= BAR)]
