"""The worker parent's view of a task whose process is gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import WorkerLostError

from celeriac import Celery
from celeriac.execution.request import Request
from celeriac.worker import grace
from celeriac.worker.grace import Grace


def charge() -> None: ...


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)
    app.task(shared=False, name="charge")(charge)
    yield app
    app.close()
    app.store.close()


@pytest.fixture
def begun(app: Celery) -> Iterator[Request]:
    """A task that a process of a pool runs."""
    app.tasks["charge"].delay()
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=10)
        request = Request(
            message, app=app, task=app.tasks["charge"], hostname="w", on_ack=lambda *_: None, connection_errors=()
        )
        request.on_handed_over()
        yield request


def crashes(app: Celery) -> int:
    """How many are counted against the task, once it is another's to run."""
    [delivery] = app.store.claim(["celery"], 1, owner="another", lease=30.0)
    return delivery.crashes


def test_a_process_that_dies_is_a_crash(app: Celery, begun: Request) -> None:
    begun.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))
    assert crashes(app) == 1


def test_one_that_the_worker_ends_is_none(app: Celery, begun: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool hears of its processes' ends before what they ran is handed back."""
    ended: list[str] = []

    def hear_and_hand_back(keeper: Any) -> Any:
        begun.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))
        return hand_back(keeper)

    hand_back = grace.hand_back
    monkeypatch.setattr(Request, "ended_by_us", False)
    monkeypatch.setattr(grace, "hand_back", hear_and_hand_back)
    monkeypatch.setattr(grace, "start_thread", lambda _: None)
    monkeypatch.setattr(grace, "_leave", lambda _: ended.append("left"))
    worker = SimpleNamespace(app=app, pool=None)
    Grace(worker)._end()  # it ends the process
    assert ended == ["left"]
    assert crashes(app) == 0


def test_what_has_expired_is_not_said_to_be_revoked(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sent = app.tasks["charge"].apply_async(expires=datetime.now(timezone.utc) - timedelta(seconds=1))
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=10)
        request = Request(
            message, app=app, task=app.tasks["charge"], hostname="w", on_ack=lambda *_: None, connection_errors=()
        )
        assert request.revoked()
    assert f"discarding expired task: charge[{sent.id}], which was to run before " in caplog.text
    assert "revoked task" not in caplog.text
    assert app.store.records([sent.id])[sent.id].state == "REVOKED"
