"""Does a claim get slower with a million waiting and a hundred thousand delayed?"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Figure
from celeriac.core.attempt import Outcome, Record, Settlement
from celeriac.core.message import TaskMessage
from celeriac.publish.ids import new_id
from celeriac.store.protocols import Store
from celeriac.store.sqlite import SQLiteStore

BAR = 0.8
ENVELOPE = '[{"task":"bench.noop","origin":"' + "x" * 600 + '"},{},"application/json","utf-8"]'


def fill(store: Store, waiting: int, delayed: int) -> None:
    """Messages of the size Celery makes them, in hundreds."""
    due = time.time() + 3600
    for start in range(0, waiting + delayed, 500):
        store.publish(
            [
                TaskMessage(
                    "q",
                    ENVELOPE,
                    "[[],{},{}]",
                    task_id=new_id(),
                    name="bench.noop",
                    run_at=due if start + place >= waiting else None,
                )
                for place in range(min(500, waiting + delayed - start))
            ]
        )


def rate(store: Store, count: int) -> float:
    """Messages claimed by 64 and settled by 16, a second."""
    began, done = time.perf_counter(), 0
    while done < count:
        claimed = store.claim(["q"], 64, owner="bench", lease=30)
        for start in range(0, len(claimed), 16):
            store.settle(
                [
                    Settlement(
                        item.lease,
                        item.task_id or "",
                        item.generation,
                        Outcome.COMPLETED,
                        Record(item.task_id or "", item.generation, "SUCCESS", closed=True, name="bench.noop"),
                    )
                    for item in claimed[start : start + 16]
                ]
            )
        done += len(claimed)
    return count / (time.perf_counter() - began)


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Claim-and-settle rate of the store, deep over shallow."""
    deep = (1_000_000, 100_000) if runs >= 5 else (100_000, 10_000)
    values: dict[str, list[float]] = {"10,000 waiting": [], f"{deep[0]:,} waiting": []}
    with tempfile.TemporaryDirectory() as folder:
        shallow_store, deep_store = (SQLiteStore(Path(folder, name)) for name in ("shallow.db", "deep.db"))
        say(f"backlog: filling {deep[0]:,} and {deep[1]:,} delayed")
        fill(deep_store, *deep)
        for turn in range(runs):
            say(f"backlog: run {turn + 1} of {runs}")
            fill(shallow_store, 10_000 - shallow_store.size("q"), 0)
            values["10,000 waiting"].append(rate(shallow_store, 5000))
            values[f"{deep[0]:,} waiting"].append(rate(deep_store, 5000))
        shallow_store.close()
        deep_store.close()
    shallow, other = values.values()
    ratio = statistics.median(b / a for a, b in zip(shallow, other, strict=True))
    return [Figure("claim and settle, deep queue", "messages/s", values, f"{ratio:.2f} ×; bar {BAR} ×", ratio >= BAR)]
