"""What does a person wait for: 10,000 dead letters sent again, 100,000 messages of a task that is paused and goes on?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks import backlog, harness, limits
from benchmarks.harness import Figure
from celeriac.core.message import TaskMessage
from celeriac.publish.ids import new_id
from celeriac.store.protocols import Store

REDRIVE_BAR, CLAIM_BAR = 5.0, 0.8
#: Letters sent again, and messages that wait for a paused task; in a quick run fewer.
LETTERS, PAUSED = 10_000, 100_000
STORES = ("celeriac", "postgres", "streams")
FAIL = """
app.send_tasks(unlucky.s(number) for number in range({letters}))
print(1)
"""


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Seconds a whole command takes, and seconds until a claim has passed by what is paused; a small ``tasks`` makes them small."""
    small = min(1.0, tasks / 20_000)
    return [
        *(_redrives(name, runs, int(LETTERS * small), say) for name in STORES),
        *(figure for name in STORES for figure in _pauses(name, runs, int(PAUSED * small), say)),
    ]


def _redrives(name: str, runs: int, letters: int, say: harness.Say) -> Figure:
    found = []
    for turn in range(runs):
        say(f"desk, {name}: {letters:,} letters, run {turn + 1} of {runs}")
        with harness.broker(name) as at:
            harness.client(at, FAIL.format(letters=letters))
            with harness.worker(at, ["solo"]):
                harness.wait_for(lambda at=at: at.done() >= letters, "the last failure")  # type: ignore[misc]
            found.append(_redrive(at, letters))
    figure = Figure(f"{letters:,} dead letters redriven", "s", {name: found})
    if name == "celeriac":
        figure.bar, figure.met = f"at most {REDRIVE_BAR:.0f} s", statistics.median(found) <= REDRIVE_BAR
    return figure


def _redrive(at: harness.Broker, letters: int) -> float:
    """Seconds of the command, from its start to its end."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.apps.tasks", "dead", "redrive", "--all", "--yes"]
    began = time.perf_counter()
    done = subprocess.run(command, env=at.env, cwd=at.folder, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if f"{letters:,} redriven" not in done.stdout:
        raise RuntimeError(f"not all were redriven: {done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return took


def _pauses(name: str, runs: int, waiting: int, say: harness.Say) -> list[Figure]:
    """Until one that waits behind them all is claimed; until all wait again; and what claims cost beside them."""
    passed, resumed = [], []
    rates: dict[str, list[float]] = {"alone": [], f"beside {waiting:,} paused": []}
    alone, beside = rates.values()
    with limits.two_stores(name) as (plain, paused):
        for turn in range(runs):
            say(f"desk, {name}: {waiting:,} of a paused task, run {turn + 1} of {runs}")
            backlog.fill(paused, waiting, 0)
            paused.pause("task", "bench.noop", "bench", "")
            passed.append(_pass(paused))
            for store, found in ((plain, alone), (paused, beside)):
                _fill(store, 5000)
                found.append(backlog.rate(store, 5000))
            began = time.perf_counter()
            paused.resume("task", "bench.noop")
            resumed.append(time.perf_counter() - began)
            assert paused.size("q") == waiting, f"{paused.size('q')} of {waiting} wait again"
            paused.purge("q")
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    kind = limits.LABELS[name]
    return [
        Figure(f"{kind}, {waiting:,} of a paused task passed by", "s", {name: passed}),
        Figure(f"{kind}, {waiting:,} of a paused task resumed", "s", {name: resumed}),
        Figure(
            f"{kind}, claim and settle beside paused",
            "messages/s",
            rates,
            f"{ratio:.2f} ×; bar {CLAIM_BAR} ×",
            ratio >= CLAIM_BAR,
        ),
    ]


def _fill(store: Store, count: int) -> None:
    """Messages of a task that is not paused."""
    for start in range(0, count, 500):
        store.publish(
            [
                TaskMessage("q", backlog.ENVELOPE, "[[],{},{}]", task_id=new_id(), name="bench.other")
                for _ in range(min(500, count - start))
            ]
        )


def _pass(store: Store) -> float:
    """Seconds until one is claimed that was sent behind them all."""
    _fill(store, 1)
    began = time.perf_counter()
    while not (claimed := store.claim(["q"], 64, owner="bench", lease=30)):
        pass
    took = time.perf_counter() - began
    store.ack([item.lease for item in claimed])
    return took
