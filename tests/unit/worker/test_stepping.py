"""A clock of the store's that is set back is noticed; one that goes ahead, or is measured anew, is none."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac import Celery
from celeriac.worker import maintenance, stepping
from celeriac.worker.maintenance import Maintenance
from celeriac.worker.stepping import SETTLED, STEP, Steps


class Server:
    """A store whose clock is so far ahead of the machine's."""

    def __init__(self, here: list[float]) -> None:
        self._here = here
        self.ahead = 1_700_000_000.0

    def lease_now(self) -> float:
        return self._here[0] + self.ahead


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The machine's clocks, which stand still until they are moved."""
    now = [1000.0]
    monkeypatch.setattr(stepping, "lease_now", lambda: now[0])
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_at_first_nobody_knows(here: list[float]) -> None:
    server, steps = Server(here), Steps()
    assert [steps.look(server) for _ in range(3)] == [True, False, False]  # type: ignore[arg-type]  # no more of it is asked


def test_until_all_have_measured_it_anew_there_is_more_to_see(here: list[float]) -> None:
    server, steps = Server(here), Steps()
    steps.look(server)  # type: ignore[arg-type]
    server.ahead -= 300
    for moment, seen in [(0.0, True), (SETTLED - 1, True), (2.0, False)]:
        here[0] += moment
        assert steps.look(server) is seen  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [STEP / 2, -STEP / 2, 300.0])
def test_what_holds_nobody_up_is_none(here: list[float], step: float) -> None:
    server, steps = Server(here), Steps()
    steps.look(server)  # type: ignore[arg-type]
    here[0] += 10
    server.ahead += step
    assert not steps.look(server)  # type: ignore[arg-type]


def test_a_worker_looks_again_at_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "TIDIED", 0.01)
    looked = threading.Event()
    app: Any = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    monkeypatch.setattr(type(app.store), "look_again", lambda _: looked.set())
    step = object.__new__(Maintenance)
    step._stop = threading.Event()
    thread = threading.Thread(target=step._run, args=(app,))
    thread.start()
    assert looked.wait(30)
    step._stop.set()
    thread.join(30)
    app.store.close()
