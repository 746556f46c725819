"""A parent that writes on several threads and forks all the while: `python -m tests.conformance.forking STORE FORKS [bare]`.

Its last line is a report in JSON. With `bare` the hooks that close connections round a fork find nothing to close.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

from celeriac.store.sqlite import SQLiteStore
from celeriac.store.sqlite import forks as hooks
from celeriac.testing.conformance.harness import claim, publish, settlement
from tests.conformance.working import open_at

#: How children end: well, with an error, or having found a connection open.
WELL, ERROR, OPEN = 0, 1, 3
#: Threads that fork, children of each that run beside each other, and what each child publishes.
FORKERS, BESIDE, EACH = 2, 2, 20


class Parent:
    """Forks while its threads use the store."""

    def __init__(self, place: str, *, bare: bool) -> None:
        self.store = open_at(place)
        self.every: Iterable[Any] = hooks._ALL
        if bare:
            hooks._ALL = WeakSet()
        self.accepted: list[str] = []
        self.errors: list[str] = []
        self.stop = threading.Event()

    def run(self, forks: int) -> dict[str, object]:
        threads = [threading.Thread(target=self._until_stopped, args=(use,)) for use in (self._publish, self._reopen)]
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(FORKERS) as forkers:
            each = [forkers.submit(self._fork_again_and_again, range(n, forks, FORKERS)) for n in range(FORKERS)]
            ends = [end for done in each for end in done.result()]
        self.stop.set()
        for thread in threads:
            thread.join()
        return {"ends": ends, "errors": self.errors, "lost": self._lost(forks), "check": self._check()}

    def _until_stopped(self, use: Callable[[], None]) -> None:
        try:
            while not self.stop.is_set():
                use()
        except Exception:  # noqa: BLE001  # the main thread reports it
            self.errors.append(traceback.format_exc())

    def _publish(self) -> None:
        name = f"parent-{len(self.accepted)}"
        publish(self.store, name)
        self.accepted.append(name)

    def _reopen(self) -> None:
        """Connections come and go, as those of threads do."""
        another = self.store.keeper()
        another.mark()
        another.sizes()
        another.close()

    def _fork_again_and_again(self, numbers: Iterable[int]) -> list[int]:
        running: list[int] = []
        ends: list[int] = []
        for number in numbers:
            pid = os.fork()
            if pid == 0:
                os._exit(self._child(number))
            running.append(pid)
            if len(running) == BESIDE:
                ends.append(_end_of(running.pop(0)))
        return ends + [_end_of(pid) for pid in running]

    def _child(self, number: int) -> int:
        if any(connection._raw is not None for connection in self.every):
            return OPEN
        try:
            self._work(number)
        except BaseException:  # noqa: BLE001  # whatever it is, the child must end here
            traceback.print_exc()
            return ERROR
        return WELL

    def _work(self, number: int) -> None:
        for name in _names(number):
            publish(self.store, name)
        done = claim(self.store, limit=5, owner=f"child {number}")
        assert all(answer.held for answer in self.store.settle([settlement(found) for found in done]))
        if number % 2:
            self.store.close()

    def _lost(self, forks: int) -> list[str]:
        """What was accepted and is neither waiting nor settled."""
        expected = [*self.accepted, *(name for number in range(forks) for name in _names(number))]
        known = self.store.records(expected)
        return [name for name in expected if name not in known]

    def _check(self) -> str:
        if not isinstance(self.store, SQLiteStore):
            return "ok"
        with self.store.database.reading() as raw:
            return str(raw.execute("PRAGMA integrity_check").fetchone()[0])


def _names(number: int) -> list[str]:
    return [f"child-{number}-{index}" for index in range(EACH)]


def _end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    report = Parent(sys.argv[1], bare="bare" in sys.argv).run(int(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(report))
