"""How much memory does a worker's tree hold after a thousand tasks, and does it grow?"""

from __future__ import annotations

from benchmarks import harness
from benchmarks.harness import Figure

CONFIGS = ("stock", "celeriac")
#: Megabytes: over stock after 1,000 tasks, and growth from there.
OVER, GROWTH = 15.0, 5.0


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """PSS in MB; growth to 100,000 tasks in a full run, to 10,000 in a quick one."""
    later = 100_000 if runs >= 5 else 10_000
    values: dict[str, list[float]] = {}
    for config in CONFIGS:
        say(f"memory: {config}")
        with harness.broker(config) as at, harness.worker(at, ["prefork", "-c", "2"]) as running:
            harness.publish(at, 1000)
            harness.wait_for(lambda at=at: at.done() >= 1000, "the first thousand")  # type: ignore[misc]
            values[config] = [running.pss()]
            if config == "celeriac":
                harness.publish(at, later)
                harness.wait_for(lambda at=at: at.done() >= later, "the rest", 600, 1.0)  # type: ignore[misc]
                values[config].append(running.pss())
    over, growth = values["celeriac"][0] - values["stock"][0], values["celeriac"][1] - values["celeriac"][0]
    bar = f"stock {over:+.1f} MB, bar +{OVER:.0f}; {growth:+.1f} MB to {later:,} tasks, bar +{GROWTH:.0f}"
    return [Figure("memory after 1,000 tasks", "MB", values, bar, over <= OVER and growth <= GROWTH)]
