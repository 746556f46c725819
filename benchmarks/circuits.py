"""What does a circuit breaker cost those it does not touch, and a closed one those who depend on it?"""

from __future__ import annotations

import statistics
import time

from benchmarks import harness
from benchmarks.harness import Figure

BAR = 0.9
#: Tasks that wait behind the open circuit, beside those that are measured.
WAITING = 1000

#: Opened for so short a time that those who wait are claimed, and put off, again and again while others are measured.
_BEHIND = """
app.circuits.open("gateway")
app.send_tasks(behind.s() for _ in range({waiting}))
print(1)
"""


def _rate(task: str, tasks: int, waiting: int) -> float:
    with harness.broker("celeriac") as at:
        if waiting:
            harness.client(at, _BEHIND.format(waiting=waiting))
        harness.client(at, f"for _ in range({tasks}): {task}.delay()\nprint(1)")
        with harness.worker(at, ["solo"]):
            harness.wait_for(lambda: at.done() >= tasks // 10, "the first tenth")
            first, began = at.done(), time.monotonic()
            harness.wait_for(lambda: at.done() >= tasks, "the last task")
            return (tasks - first) / (time.monotonic() - began)


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """The three take turns."""
    kinds = {
        "alone": ("noop", 0),
        "beside an open circuit": ("noop", WAITING),
        "behind a closed circuit": ("guarded", 0),
    }
    values: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(runs):
        for name, (task, waiting) in kinds.items():
            say(f"circuits, {name}: run {turn + 1} of {runs}")
            values[name].append(_rate(task, tasks, waiting))
    return [
        _figure("drain, solo, beside an open circuit", values, "beside an open circuit", BAR),
        _figure("drain, solo, behind a closed circuit", values, "behind a closed circuit"),
    ]


def _figure(question: str, values: dict[str, list[float]], other: str, bar: float | None = None) -> Figure:
    ratio = statistics.median(b / a for a, b in zip(values["alone"], values[other], strict=True))
    both = {name: values[name] for name in ("alone", other)}
    if bar is None:
        return Figure(question, "tasks/s", both, f"{ratio:.2f} ×")
    return Figure(question, "tasks/s", both, f"{ratio:.2f} ×; bar {bar} ×", ratio >= bar)
