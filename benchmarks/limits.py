"""What do limits cost those they do not touch, and how long does a backlog keep another key's task waiting?"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import backlog, harness
from benchmarks.harness import Figure
from celeriac import Celery
from celeriac.core.limits import Bound, Rule, pack
from celeriac.core.message import TaskMessage
from celeriac.publish.ids import new_id
from celeriac.store.protocols import Store
from celeriac.store.sqlite import SQLiteStore

CLAIM_BAR, DRAIN_BAR, TURNS_BAR = 0.8, 0.9, 2.0
#: Limited messages that wait, over so many values of the key; in a quick run a tenth.
WAITING, KEYS = 100_000, 1_000


@contextmanager
def _store(name: str) -> Iterator[Store]:
    if name == "celeriac":
        with tempfile.TemporaryDirectory() as folder:
            store = SQLiteStore(Path(folder, "limits.db"))
            yield store
            store.close()
        return
    with harness.broker(name) as at:
        app = Celery("bench", broker=at.url)
        yield app.store
        app.store.close()


def _limited(number: int) -> TaskMessage:
    limits = pack([Bound("charge", f"customer:{number % KEYS}", Rule(slots=1))])
    return TaskMessage("q", backlog.ENVELOPE, "[[],{},{}]", task_id=new_id(), name="bench.noop", limits=limits)


def _hold_back(store: Store, waiting: int) -> None:
    """So many wait for slots that others have."""
    for start in range(0, waiting + KEYS, 500):
        store.publish([_limited(number) for number in range(start, min(start + 500, waiting + KEYS))])
    held = 0
    while taken := store.claim(["q"], 64, owner="holder", lease=3600):
        held += len(taken)
    assert held == KEYS, f"{held} of {KEYS} slots were taken"


def _claims(name: str, runs: int, waiting: int, say: harness.Say) -> Figure:
    """Claim-and-settle rate of what is not limited, beside limited ones over alone."""
    values: dict[str, list[float]] = {"alone": [], f"beside {waiting:,} limited": []}
    alone, beside = values.values()
    with _store(name) as store:
        for turn in range(runs):
            say(f"limits, {name}: alone, run {turn + 1} of {runs}")
            backlog.fill(store, 5000, 0)
            alone.append(backlog.rate(store, 5000))
        say(f"limits, {name}: filling {waiting:,}")
        _hold_back(store, waiting)
        for turn in range(runs):
            say(f"limits, {name}: beside, run {turn + 1} of {runs}")
            backlog.fill(store, 5000, 0)
            beside.append(backlog.rate(store, 5000))
    ratio = statistics.median(beside) / statistics.median(alone)
    return Figure(
        f"claim and settle, {name}", "messages/s", values, f"{ratio:.2f} ×; bar {CLAIM_BAR} ×", ratio >= CLAIM_BAR
    )


def _drains(runs: int, tasks: int, say: harness.Say) -> Figure:
    """A worker's rate on tasks that no limit touches, with and without others that are limited in its queue."""
    values: dict[str, list[float]] = {"alone": [], "beside limited": []}
    for turn in range(runs):
        for name, found in values.items():
            say(f"limits, drain {name}: run {turn + 1} of {runs}")
            found.append(_drain(tasks, 0 if name == "alone" else 1000))
    ratio = statistics.median(b / a for a, b in zip(*values.values(), strict=True))
    return Figure(
        "drain, solo, of tasks without limits",
        "tasks/s",
        values,
        f"{ratio:.2f} ×; bar {DRAIN_BAR} ×",
        ratio >= DRAIN_BAR,
    )


def _drain(tasks: int, waiting: int) -> float:
    with harness.broker("celeriac") as at:
        if waiting:
            # One runs for as long as this lasts, and the others wait for its slot.
            harness.client(at, f"app.send_tasks(one_at_once.s(600) for _ in range({waiting}))\nprint(1)")
            with harness.worker(at, ["threads", "-c", "1"]):
                harness.wait_for(lambda: _claimed(at) == 1, "the holder's claim")
                return _rate(at, tasks)
        return _rate(at, tasks)


def _rate(at: harness.Broker, tasks: int) -> float:
    harness.publish(at, tasks)
    with harness.worker(at, ["solo"]):
        harness.wait_for(lambda: at.done() >= tasks // 10, "the first tenth")
        first, began = at.done(), time.monotonic()
        harness.wait_for(lambda: at.done() >= tasks, "the last task")
        return (tasks - first) / (time.monotonic() - began)


def _claimed(at: harness.Broker) -> int:
    app = Celery("bench", broker=at.url)
    claimed = sum(size.claimed for size in app.store.sizes())
    app.store.close()
    return claimed


def _turns(runs: int, backlog_size: int, say: harness.Say) -> Figure:
    """Tasks of the key with the backlog that end between another key's publish and its end, over what is held at once."""
    found: list[float] = []
    with harness.broker("celeriac") as at:
        say(f"limits, turns: filling {backlog_size:,}")
        harness.client(at, f"app.send_tasks(turn.s('many') for _ in range({backlog_size}))\nprint(1)")
        with harness.worker(at, ["threads", "-c", "4"]):
            harness.wait_for(lambda: at.done() > 50, "the first tasks")
            for _ in range(runs * 3):
                held, before = max(4, _claimed(at)), at.done()
                harness.client(at, "turn.delay('few').get(timeout=60)\nprint(1)")
                found.append((at.done() - before) / held)
    worst = max(found)
    return Figure(
        "others' ends between a publish and its end, over what is held at once",
        "×",
        {f"{backlog_size:,} of one key waiting": found},
        f"{worst:.1f} × at most; bar {TURNS_BAR} ×",
        worst <= TURNS_BAR,
    )


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """All of it; a quick run has a tenth of the backlog."""
    waiting = WAITING if runs >= 3 else WAITING // 10
    return [
        *(_claims(name, runs, waiting, say) for name in ("celeriac", "postgres", "streams")),
        _drains(runs, tasks, say),
        _turns(runs, waiting // 10, say),
    ]
