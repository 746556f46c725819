"""What do limits cost those they do not touch, and how long does a backlog keep another key's task waiting?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import backlog, harness
from benchmarks.harness import Figure
from celeriac import Celery
from celeriac.core.limits import Bound, Rule, pack
from celeriac.core.message import TaskMessage
from celeriac.publish.ids import new_id
from celeriac.store.protocols import Store

CLAIM_BAR, DRAIN_BAR, TURNS_BAR = 0.8, 0.9, 2.0
#: Limited messages that wait, over so many values of the key; in a quick run a tenth.
WAITING, KEYS = 100_000, 1_000
LABELS = {"celeriac": "SQLite", "postgres": "PostgreSQL", "streams": "Redis"}


@contextmanager
def two_stores(name: str) -> Iterator[tuple[Store, Store]]:
    """Two empty ones of a kind, so that what is compared takes turns."""
    with harness.broker(name) as at:
        second = {
            "celeriac": at.url.replace("bench.db", "second.db"),
            "postgres": f"{at.url}_second",
            "streams": f"{at.url}&prefix=second",
        }[name]
        apps = [Celery("bench", broker=url) for url in (at.url, second)]
        try:
            yield apps[0].store, apps[1].store
        finally:
            for app in apps:
                app.store.close()
            if name == "postgres":
                harness.drop_schema(f"{at.schema}_second")


def _limited(number: int) -> TaskMessage:
    limits = pack([Bound("charge", f"customer:{number % KEYS}", Rule(slots=1))])
    return TaskMessage("q", backlog.ENVELOPE, "[[],{},{}]", task_id=new_id(), name="bench.noop", limits=limits)


def _hold_back(store: Store, waiting: int) -> None:
    """So many wait for slots that others have."""
    for start in range(0, waiting + KEYS, 500):
        store.publish([_limited(number) for number in range(start, min(start + 500, waiting + KEYS))])
    store.tidy()  # as a worker does, every two seconds
    held = 0
    while taken := store.claim(["q"], 64, owner="holder", lease=3600):
        held += len(taken)
    assert held == KEYS, f"{held} of {KEYS} slots were taken"
    store.tidy()


def _claims(name: str, runs: int, waiting: int, say: harness.Say) -> Figure:
    """Claim-and-settle rate of what is not limited, beside limited ones over alone."""
    values: dict[str, list[float]] = {"alone": [], f"beside {waiting:,} limited": []}
    alone, beside = values.values()
    with two_stores(name) as (plain, limited):
        say(f"limits, {name}: filling {waiting:,}")
        _hold_back(limited, waiting)
        for turn in range(runs):
            say(f"limits, {name}: run {turn + 1} of {runs}")
            for store, found in ((plain, alone), (limited, beside)):
                backlog.fill(store, 5000, 0)
                found.append(backlog.rate(store, 5000))
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    return Figure(
        f"{LABELS[name]}, claim and settle beside limits",
        "messages/s",
        values,
        f"{ratio:.2f} ×; bar {CLAIM_BAR} ×",
        ratio >= CLAIM_BAR,
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
        "drain, solo, beside limits",
        "tasks/s",
        values,
        f"{ratio:.2f} ×; bar {DRAIN_BAR} ×",
        ratio >= DRAIN_BAR,
    )


#: One is held for as long as this lasts, and the others wait for its slot.
_HELD = """
assert len(app.store.claim(["celery"], 64, owner="holder", lease=3600)) == 1
"""


def _drain(tasks: int, waiting: int) -> float:
    with harness.broker("celeriac") as at:
        if waiting:
            harness.client(at, f"app.send_tasks(one_at_once.s(0) for _ in range({waiting})){_HELD}print(1)")
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


_COUNT = """
import sqlite3
def done():
    return raw.execute("SELECT coalesce(max(rowid), 0) FROM task").fetchone()[0]
"""
_ONE_OF_FEW = """
raw = sqlite3.connect(path)
turn.delay('few').get(timeout=60)
before = done()
turn.delay('few').get(timeout=60)
print(done() - before - 1)
"""


def _turns(runs: int, backlog_size: int, say: harness.Say) -> Figure:
    """Tasks of the key with the backlog that end between another key's publish and its end, over what is held at once."""
    found: list[float] = []
    with harness.broker("celeriac") as at:
        say(f"limits, turns: filling {backlog_size:,}")
        harness.client(at, f"app.send_tasks(turn.s('many') for _ in range({backlog_size}))\nprint(1)")
        with harness.worker(at, ["threads", "-c", "4"]):
            harness.wait_for(lambda: at.done() > 50, "the first tasks")
            held = 4
            for _ in range(runs * 3):
                held = max(held, *(_claimed(at) for _ in range(5)))  # what was prefetched, at most
                found.append(
                    harness.client(at, f"{_COUNT}path = {str(at.folder / 'bench.db')!r}\n{_ONE_OF_FEW}") / held
                )
    worst = max(found)
    return Figure(
        "others before a key's only task, over slots and prefetch",
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
        _turns(runs, waiting, say),
    ]
