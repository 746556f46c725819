"""What goes on in a cell beside its fault: people pause and resume a task and the queue, and the gateway stands still for a while."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.errors import StoreError
from tests.faults.journal import MEANWHILE, note, now
from tests.faults.receivers import STANDS_STILL
from tests.faults.tasks import GATEWAY, insist

#: What is paused, one after the other, where its kinds are in the mix; seconds for which, and between two.
TASKS, PAUSED, REST = ("paid", "limited", "snoozed", "keyed"), 0.3, 0.3
#: Seconds for which the gateway stands still before a circuit has opened, at most; and for which it answers again.
STANDSTILL, ANSWERS = 8.0, 4.0
#: Seconds between two looks at the circuit.
LOOK = 0.05

#: Does something, and yields the seconds until it does the next.
Steps = Generator[float, None, None]


class Meanwhile:
    """Begins with the cell's client, and ends when nothing is published any more: with nothing paused, and the gateway answering.

    Args:
        kinds: those in the mix; what has nobody to befall is left out.
    """

    def __init__(self, app: Any, folder: Path, kinds: Mapping[str, int]) -> None:
        self._app, self._folder = app, folder
        self._over = threading.Event()
        doings: list[Callable[[], Steps]] = []
        self._tasks = [name for name in TASKS if name in kinds]
        if self._tasks:
            doings.append(self._pauses)
        if "called" in kinds:
            doings.append(self._standstills)
        self._threads = [threading.Thread(target=self._go_on, args=(doing,), daemon=True) for doing in doings]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ask it to end."""
        self._over.set()

    @property
    def ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _go_on(self, doing: Callable[[], Steps]) -> None:
        with closing(doing()) as steps:
            for seconds in steps:
                if self._over.wait(seconds):
                    return

    # -- pauses

    def _pauses(self) -> Steps:
        """A task, and the queue, and the next task."""
        queue = {"queue": self._app.conf.task_default_queue}
        for name in itertools.cycle(self._tasks):
            for what in ({"task": name}, queue):
                with self._paused(what):
                    yield PAUSED
                yield REST

    @contextmanager
    def _paused(self, what: dict[str, str]) -> Iterator[None]:
        """Paused or not, when the broker says nothing: resumed in any case, and before anything else."""
        began = now()
        with suppress(StoreError, OperationalError):
            self._app.pauses.pause(**what, note="the matrix")
        try:
            yield
        finally:
            insist(lambda: self._app.pauses.resume(**what))
            self._note("paused", began)

    # -- the gateway

    def _standstills(self) -> Steps:
        while True:
            began, still = now(), Path(self._folder, STANDS_STILL)
            still.touch()
            try:
                yield from self._until_open()
            finally:
                still.unlink()
                self._note("stood still", began)
            yield ANSWERS

    def _until_open(self) -> Steps:
        """Until it was found open, and a probe must have failed since or be under way."""
        deadline = time.monotonic() + STANDSTILL
        while time.monotonic() < deadline:
            yield LOOK
            if self._opened():
                self._note("opened", now())
                yield GATEWAY.open_for
                return

    def _opened(self) -> bool:
        with suppress(StoreError, OperationalError):
            return any((one.name, one.state) == (GATEWAY.name, "open") for one in self._app.circuits.list())
        return False

    def _note(self, what: str, began: float) -> None:
        note(self._folder, MEANWHILE, what=what, start=began, end=now())
