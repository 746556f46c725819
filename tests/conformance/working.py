"""One process of many on a store: `python -m tests.conformance.working STORE open|publish|work|write LOG [ARGUMENTS]`.

STORE is a file, or a URL.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from celeriac.core.message import TaskMessage
from celeriac.store.protocols import Store
from celeriac.store.registry import open_store
from celeriac.store.sqlite import SQLiteStore, log
from celeriac.testing.conformance.harness import claim, id_of, publish, settlement, task

#: Seconds a worker's lease lasts, and between its looks for what others left.
LEASE, LOOK = 1.0, 0.2
#: Messages claimed, and settled, at once.
CLAIMED, SETTLED = 32, 8
DONE = "done"


class Worker:
    """Claims, settles and reclaims until it is killed; every settlement leaves a message in ``done``."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = f"worker {os.getpid()}"
        self._looked = 0.0

    def run(self) -> None:
        while True:
            mark = self.store.mark()
            self._look()
            held = claim(self.store, limit=CLAIMED, owner=self.owner, lease=LEASE)
            if held and os.getpid() % 2:
                self.store.start(held[0].lease)
            for start in range(0, len(held), SETTLED):
                self.store.settle(
                    [settlement(one, follow_ups=[_trace(id_of(one))]) for one in held[start : start + SETTLED]]
                )
            if not held:
                self.store.wait(LOOK, mark)

    def _look(self) -> None:
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self.store.reclaim()


def _trace(task_id: str) -> TaskMessage:
    return TaskMessage(DONE, "[{}, {}, null, null]", task_id)


def open_at(place: str) -> Store:
    """The store of a file or of a URL."""
    return open_store(place) if "://" in place else SQLiteStore(place)


def ready(log: Path) -> None:
    """Say that the work begins."""
    (log.parent / f"ready-{os.getpid()}").touch()


def work(place: str, log: Path) -> None:
    worker = Worker(open_at(place))
    ready(log)
    worker.run()


def send(place: str, log: Path, name: str, count: str) -> None:
    """Publish, and note what was accepted."""
    store = open_at(place)
    ready(log)
    with log.open("a", buffering=1) as accepted:
        for number in range(int(count)):
            publish(store, task(f"{name}-{number}", priority=number % 10))
            accepted.write(f"{name}-{number}\n")


def write(place: str, _: Path, bound: str, seconds: str) -> None:
    """Write as fast as it goes, with a small bound of the log."""
    log.WAL_BOUND, log.COMMITS_A_LOOK = int(bound), 64
    store, end = SQLiteStore(place), time.monotonic() + float(seconds)
    for number in count():
        publish(store, task(f"{os.getpid()}-{number}", body="x" * 4_000))
        if not number % 20:
            store.settle([settlement(found) for found in claim(store)])
        if time.monotonic() > end:
            return


def open_together(place: str, _: Path, rounds: str, processes: str) -> None:
    """Open new files, each in one moment in several processes."""
    for number in range(int(rounds)):
        new, at = Path(place).with_name(f"{number}.db"), time.monotonic() + 0.03
        children = [_fork_to_open(new, at) for _ in range(int(processes))]
        if any(os.waitpid(child, 0)[1] for child in children):
            raise SystemExit(f"round {number} failed")


def _fork_to_open(path: Path, at: float) -> int:
    child = os.fork()
    if child == 0:
        while time.monotonic() < at:
            pass
        publish(SQLiteStore(path), f"{os.getpid()}")
        os._exit(0)
    return child


ROLES: dict[str, Callable[..., None]] = {"open": open_together, "publish": send, "work": work, "write": write}

if __name__ == "__main__":
    file, role, note, *rest = sys.argv[1:]
    ROLES[role](file, Path(note), *rest)
