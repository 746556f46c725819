"""The worker parent's view of a task whose process is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, group
from celery.exceptions import WorkerLostError

from celeriac import Celery, WorkflowBlocked
from celeriac.core.message import DELIVERY_HEADER
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from celeriac.core.workflow_state import State
from celeriac.errors import StoreUnavailable
from celeriac.execution.pipeline import begin
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


# -- what the parent ends may be a part of a workflow


@pytest.fixture
def claimed(app: Celery) -> Iterator[Callable[[], Request]]:
    """Takes the next task that a worker's parent has to see to."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")

        def claim() -> Request:
            charge, message = app.tasks["charge"], queue.get(timeout=10)
            return Request(message, app=app, task=charge, hostname="w", on_ack=_nothing, connection_errors=())

        yield claim


def _nothing(*_: Any) -> None: ...


def _passes_its_limit(request: Request) -> None:
    request.on_timeout(False, 10.0)


def _is_lost(request: Request) -> None:
    request.task.acks_late = False
    request.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))


def _is_revoked(request: Request) -> None:
    request._announce_revoked("revoked", False, None, False)


@pytest.mark.parametrize("ends", [_passes_its_limit, _is_lost])
def test_one_that_gives_up_blocks_its_workflow_or_cancels_the_rest(
    app: Celery, claimed: Callable[[], Request], ends: Callable[[Request], None]
) -> None:
    step = app.tasks["charge"].si()
    sent = app.workflows.send(chain(step, step))
    ends(claimed())
    assert isinstance(sent.result, WorkflowBlocked)
    failing = app.workflows.send(chain(step, step), on_failure="fail")
    ends(claimed())
    assert app.workflows.get(failing.workflow_id).state is State.FAILED
    assert app.store.cancelled_workflows() == {failing.workflow_id}


@pytest.mark.parametrize("ends", [_passes_its_limit, _is_lost, _is_revoked])
def test_one_of_many_counts_as_ended_whoever_sees_it_end(
    app: Celery, claimed: Callable[[], Request], ends: Callable[[Request], None]
) -> None:
    sent = group(app.tasks["charge"].si() for _ in range(FOLDED_ABOVE + 1)).delay()
    for _ in range(FOLDED_ABOVE + 1):
        ends(claimed())
    [node] = app.workflows.get(sent.workflow_id).nodes
    counted = (0, FOLDED_ABOVE + 1) if ends is _is_revoked else (FOLDED_ABOVE + 1, 0)
    assert (node.succeeded, node.failed, node.cancelled) == (0, *counted)
    assert app.workflows.get(sent.workflow_id).ended


def away(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """A store's method while the store is not there, and when it is again."""
    left = [times]

    def ask(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable("here", "away")
        return then(*args)

    return ask


def test_one_that_crashes_too_often_while_the_store_is_away_is_buried_all_the_same(
    app: Celery, begun: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be held, and nobody run it, for as long as the worker lives."""
    assert begun._facts is not None
    begun._facts = begun._facts._replace(crashes=app.own_settings.max_crashes)
    monkeypatch.setattr(app.store, "attempts", away(2, app.store.attempts))
    begun.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))
    [letter] = app.dead_letters.find()
    assert letter.reason == "poison"


def test_one_whose_end_cannot_be_settled_is_held_no_longer(
    app: Celery, begun: Request, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_request: Request, error: BaseException) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(Request, "_on_crash", refuse)
    begun.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))
    assert begun.acknowledged  # which, of a message that settles by itself, only gives up its lease
    assert "its lease runs out" in caplog.text


def test_a_process_that_cannot_tell_the_time_yet_waits_for_the_store(
    app: Celery, begun: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not died, and what it was to run has not begun."""
    monkeypatch.setattr(app.store, "now", away(2, app.store.now))
    header = begun._request_dict[DELIVERY_HEADER]
    assert begin(app.tasks["charge"], begun.id, begun._request_dict, header).started_at > 0
