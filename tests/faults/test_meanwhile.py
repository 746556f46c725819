"""What goes on beside a fault leaves nothing behind, whatever the broker says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celeriac.errors import StoreUnavailable
from tests.faults.journal import MEANWHILE, RAN, lines, note
from tests.faults.meanwhile import Doing, Pauses, Standstills
from tests.faults.receivers import STANDS_STILL
from tests.support import wait_for


class Store:
    """Pauses, of which some calls fail; and a circuit."""

    def __init__(self, failing: int = 0) -> None:
        self.failing, self.paused, self.resumed = failing, list[Any](), list[Any]()
        self.state = "closed"
        self.conf = SimpleNamespace(task_default_queue="celery")
        self.pauses = self.circuits = self

    def pause(self, **what: str) -> None:
        what.pop("note")
        self.paused.append(what)
        self._perhaps_fail()

    def resume(self, **what: str) -> None:
        self._perhaps_fail()
        self.resumed.append(what)

    def list(self) -> list[Any]:
        self._perhaps_fail()
        return [SimpleNamespace(name="gateway", state=self.state)]

    def _perhaps_fail(self) -> None:
        self.failing -= 1
        if self.failing >= 0:
            raise StoreUnavailable("here", "no answer")


def ended(doing: Doing) -> None:
    doing.end()
    wait_for(lambda: doing.ended, 10, "it does not end")


def test_what_was_paused_is_resumed_though_nobody_answered(tmp_path: Path) -> None:
    store: Any = Store(failing=3)
    pauses = Pauses(store, tmp_path)
    pauses.start()
    wait_for(lambda: store.paused, 10, "nothing is paused")
    assert not pauses.took_part
    ended(pauses)
    assert store.resumed == store.paused == [{"task": "paid"}]
    assert [line["what"] for line in lines(tmp_path, MEANWHILE)] == ["paused"]


def test_a_task_and_the_queue_have_been_paused_before_it_took_part(tmp_path: Path) -> None:
    store: Any = Store()
    pauses = Pauses(store, tmp_path)
    pauses.start()
    wait_for(lambda: pauses.took_part, 10, "nothing is resumed")
    ended(pauses)
    assert store.resumed[:2] == [{"task": "paid"}, {"queue": "celery"}]
    assert store.resumed == store.paused


def test_the_gateway_stands_still_until_the_circuit_is_open(tmp_path: Path) -> None:
    store: Any = Store(failing=2)
    standstills = Standstills(store, tmp_path)
    standstills.start()
    still = tmp_path / STANDS_STILL
    wait_for(still.exists, 10, "it does not stand still")
    note(tmp_path, RAN, step="called")
    store.state = "open"
    wait_for(lambda: standstills.took_part, 10, "it stands still for ever")
    assert not still.exists()
    ended(standstills)
    assert [line["what"] for line in lines(tmp_path, MEANWHILE)] == ["opened", "stood still"]


def test_a_gateway_that_stands_still_answers_in_the_end(tmp_path: Path) -> None:
    standstills = Standstills(Store(), tmp_path)
    standstills.start()
    wait_for((tmp_path / STANDS_STILL).exists, 10, "it does not stand still")
    ended(standstills)
    assert not (tmp_path / STANDS_STILL).exists()
