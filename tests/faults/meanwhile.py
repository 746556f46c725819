"""What goes on in a cell beside its fault: people pause and resume tasks and the queue, and the gateway stands still for a while."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from kombu.exceptions import OperationalError

from celeriac.errors import StoreError
from tests.faults.journal import MEANWHILE, RAN, Counted, note, now
from tests.faults.receivers import STANDS_STILL
from tests.faults.tasks import GATEWAY, insist

#: Tasks that are paused, one after the other, and the queue after each; seconds for which, and between two.
TASKS, PAUSED, REST = ("paid", "limited", "snoozed", "keyed"), 0.3, 0.3
#: Seconds for which the gateway stands still after the first call when no circuit opens, and for which it answers again.
STANDSTILL, ANSWERS = 3.5, 4.0
#: Seconds between two looks at the circuit.
LOOK = 0.05


class Doing:
    """Something that somebody does again and again, from `start` to `end`, which leaves nothing of it behind."""

    #: How often it is done at least, so that it has had a part in the cell.
    least: ClassVar[int] = 1

    def __init__(self, app: Any, folder: Path) -> None:
        self._app, self._folder = app, folder
        self._done = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Ask it to end."""
        self._over.set()

    @property
    def took_part(self) -> bool:
        return self._done >= self.least

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _go_on(self) -> None:
        with closing(self.steps()) as steps:
            for seconds in steps:
                if self._over.wait(seconds):
                    return

    def steps(self) -> Generator[float, None, None]:
        """Each does something, and yields the seconds until the next."""
        raise NotImplementedError

    def done(self, what: str, began: float) -> None:
        """Note what has been done once more."""
        note(self._folder, MEANWHILE, what=what, start=began, end=now())
        self._done += 1


class Pauses(Doing):
    """People pause and resume a task, the queue, another task."""

    least = 2

    def steps(self) -> Generator[float, None, None]:
        queue = {"queue": self._app.conf.task_default_queue}
        for name in itertools.cycle(TASKS):
            for what in ({"task": name}, queue):
                with self._paused(what):
                    yield PAUSED
                yield REST

    @contextmanager
    def _paused(self, what: dict[str, str]) -> Iterator[None]:
        """Whatever the broker has said to that: it is resumed, before anything else is done."""
        began = now()
        with suppress(StoreError, OperationalError):
            self._app.pauses.pause(**what, note="the matrix")
        try:
            yield
        finally:
            insist(lambda: self._app.pauses.resume(**what))
            self.done("paused", began)


class Standstills(Doing):
    """The gateway stands still until the circuit on it has opened, and is kept from closing once."""

    def steps(self) -> Generator[float, None, None]:
        still = Path(self._folder, STANDS_STILL)
        while True:
            began = now()
            still.touch()
            try:
                yield from self._until_open()
            finally:
                still.unlink()
                self.done("stood still", began)
            yield ANSWERS

    def _until_open(self) -> Iterator[float]:
        calls = Counted(self._folder, RAN, '"called"')
        before = calls.count()
        while calls.count() == before:
            yield LOOK
        deadline = time.monotonic() + STANDSTILL
        while time.monotonic() < deadline:
            yield LOOK
            if self._is_open():
                note(self._folder, MEANWHILE, what="opened", start=now(), end=now())
                yield GATEWAY.open_for
                return

    def _is_open(self) -> bool:
        with suppress(StoreError, OperationalError):
            return any((one.name, one.state) == (GATEWAY.name, "open") for one in self._app.circuits.list())
        return False
