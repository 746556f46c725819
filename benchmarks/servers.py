"""How fast does one worker drain a queue on a server, beside stock Celery on Redis; and do four do more than one?"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil
import psycopg

from benchmarks import harness
from benchmarks.drain import rate
from benchmarks.harness import Figure

#: What each is called, and how many times stock Celery it should do.
BARS = {"postgres": ("PostgreSQL", 3.0), "streams": ("Redis, our way", 4.0)}
FOUR_BAR = 1.6
SOLO = ["solo"]
#: How often the workers began a no-op, by their own count: a task that two of them claimed is counted twice.
TAKEN = """
stats = app.control.inspect(timeout=10).stats() or {}
print(sum(sum(worker["total"].values()) for worker in stats.values()))
"""
#: Both cores have enough to do.
BUSY_BAR = 0.9


@dataclass
class Drain:
    """What so many workers did together, from the first tenth of the tasks to the last."""

    rate: float
    #: CPU microseconds a task, of the workers and of the server's processes, and the share of all cores that was busy.
    ours: float
    servers: float
    busy: float
    #: Tasks that the workers took, over those there were.
    taken: float


def several(workers: int, tasks: int) -> Drain:
    """Worker processes on one queue; what they took is what each of them counted."""
    with harness.broker("postgres") as at, ExitStack() as stack:
        harness.publish(at, tasks)
        running = [stack.enter_context(harness.worker(at, [*SOLO, "-n", f"bench{n}@%h"])) for n in range(workers)]
        harness.wait_for(lambda: at.done() >= tasks // 10, "the first tenth")
        first, began, ours, servers = at.done(), time.monotonic(), _cpu_of(running), _cpu_of_backends()
        before = psutil.cpu_times()
        harness.wait_for(lambda: at.done() >= tasks, "the last task", every=0.1)
        span, count, after = time.monotonic() - began, tasks - first, psutil.cpu_times()
        idle = after.idle + getattr(after, "iowait", 0.0) - before.idle - getattr(before, "iowait", 0.0)
        return Drain(
            count / span,
            (_cpu_of(running) - ours) / count * 1e6,
            (_cpu_of_backends() - servers) / count * 1e6,
            1 - idle / (span * (psutil.cpu_count() or 1)),
            harness.client(at, TAKEN) / tasks,
        )


def _cpu_of(workers: list[harness.Worker]) -> float:
    return sum(worker.cpu() for worker in workers)


def _cpu_of_backends() -> float:
    """CPU seconds of the server's processes that serve somebody now."""
    with psycopg.connect(harness.postgres_url()) as raw:
        pids = [row[0] for row in raw.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'celeriac'")]
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):  # it ended, or the server is on another machine
            total += sum(psutil.Process(pid).cpu_times()[:2])
    return total


def _against_stock(config: str, values: dict[str, list[float]]) -> Figure:
    name, bar = BARS[config]
    ratio = statistics.median(ours / stock for stock, ours in zip(values["stock"], values[config], strict=True))
    shown = {"stock": values["stock"], config: values[config]}
    return Figure(f"{name}, drain, solo", "tasks/s", shown, f"{ratio:.2f} × stock on Redis; bar {bar} ×", ratio >= bar)


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """One process against stock Celery, and four against one."""
    values: dict[str, list[float]] = {"stock": [], **{config: [] for config in BARS}}
    for turn in range(runs):
        for config, found in values.items():
            say(f"servers, solo: run {turn + 1} of {runs}, {config}")
            found.append(rate(config, SOLO, tasks))
    figures = [_against_stock(config, values) for config in BARS]
    return [*figures, *_together(runs, tasks, say)]


def _together(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    beside: dict[str, list[Drain]] = {"1 worker": [], "4 workers": []}
    for turn in range(runs):
        for name, found in beside.items():
            say(f"servers, {name}: run {turn + 1} of {runs}")
            found.append(several(int(name[0]), tasks))
            say(f"servers, {name}: {found[-1]}")
    one, four = beside.values()
    ratio = statistics.median(many.rate / single.rate for many, single in zip(four, one, strict=True))
    busy = statistics.median(drain.busy for drain in four)
    once = all(drain.taken == 1.0 for drain in [*one, *four])
    verdict = f"{ratio:.2f} × one, cores {busy:.0%} busy; bar {FOUR_BAR} × or {BUSY_BAR:.0%}"
    met = ratio >= FOUR_BAR or busy >= BUSY_BAR
    return [
        Figure("PostgreSQL, workers", "tasks/s", _each(beside, "rate"), verdict, met),
        Figure(
            "PostgreSQL, taken", "times a task", _each(beside, "taken"), "once each, by the workers' own count", once
        ),
        Figure("PostgreSQL, CPU of the workers", "µs a task", _each(beside, "ours")),
        Figure("PostgreSQL, CPU of its backends", "µs a task", _each(beside, "servers")),
    ]


def _each(beside: dict[str, list[Drain]], field: str) -> dict[str, list[float]]:
    return {name: [float(getattr(drain, field)) for drain in drains] for name, drains in beside.items()}
