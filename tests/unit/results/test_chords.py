"""The join of a chord while the store is in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord
from kombu.exceptions import OperationalError

from celeriac import BrokerUnavailable, Celery
from celeriac.core.attempt import ChordPart
from celeriac.errors import ServerUnavailable, StoreReadOnly, StoreUnavailable
from celeriac.results import chords

GROUP = "group-1"


def total(amounts: list[int]) -> int:
    return sum(amounts)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Any]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db")
    app.task(name="total", shared=False)(total)
    yield app
    app.close()
    app.store.close()


@pytest.fixture
def body(app: Any) -> Any:
    """Of a chord whose one member has ended."""
    signature = app.tasks["total"].s().set(task_id="body")
    encoded = app.backend.encode(dict(signature))
    app.store.set_chord_size(GROUP, 1)
    assert app.store.add_chord_part(ChordPart(GROUP, "member", 0, True, app.backend.encode(7), encoded))
    return app.AsyncResult("body")


@pytest.mark.parametrize("error", [StoreUnavailable("shop.db", "locked"), StoreReadOnly("shop.db", "read-only")])
def test_a_store_that_cannot_be_read_is_no_failure_of_the_body(
    app: Any, body: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(group_id: str) -> Any:
        raise error

    with monkeypatch.context() as trouble:
        trouble.setattr(app.backend, "restore_group", refuse)
        with pytest.raises(type(error)):
            chords.dispatch(app.backend, GROUP)
    assert app.store.size("celery") == 0
    assert app.store.chords_waiting(-1.0) == [GROUP]
    chords.dispatch(app.backend, GROUP)
    assert (app.store.size("celery"), body.state) == (1, "PENDING")
    assert app.store.chords_waiting(-1.0) == []


def test_a_body_that_cannot_be_sent_fails(app: Any, body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(group_id: str) -> Any:
        raise ValueError("a member's result is unreadable")

    monkeypatch.setattr(app.backend, "restore_group", refuse)
    chords.dispatch(app.backend, GROUP)
    assert (app.store.size("celery"), body.state) == (0, "FAILURE")


@pytest.mark.parametrize("step", ["set_chord_size", "publish"])
def test_a_store_that_goes_away_while_a_chord_is_sent_is_a_broker_that_does(
    app: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers look for the same error as from any other publish, whichever step of it meets the trouble."""

    def refuse(*_: Any) -> Any:
        raise ServerUnavailable("db.internal", "connection refused")

    total = app.tasks["total"]
    monkeypatch.setattr(app.store, step, refuse)
    header = [total.s([1]), total.s([2])]
    with pytest.raises(BrokerUnavailable, match=r"db\.internal.*connection refused") as caught:
        chord(header, total.s(), app=app).delay()
    assert isinstance(caught.value, OperationalError)


def test_the_tree_of_a_nested_header_that_cannot_be_saved(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise ServerUnavailable("db.internal", "connection refused")

    monkeypatch.setattr(app.store, "save_group", refuse)
    nested = app.GroupResult("inner", [app.AsyncResult("member")])
    with pytest.raises(BrokerUnavailable, match="connection refused"):
        app.backend.apply_chord(("outer", [nested]), app.tasks["total"].s())


def test_a_local_outbox_keeps_no_chord_and_says_so(app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise ServerUnavailable("db.internal", "connection refused")

    app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/local.db"
    monkeypatch.setattr(app.store, "get_group", refuse)
    member = app.tasks["total"].s([1])
    with pytest.raises(BrokerUnavailable, match="connection refused"):
        chord([member, member.clone()], app.tasks["total"].s(), app=app).delay()


def test_of_two_who_find_a_failed_chord_one_calls_its_error_callbacks(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(request: Any, error: Any, traceback: Any) -> None:
        told.append(request.id)

    app.task(name="tell", shared=False)(tell)
    signature = app.tasks["total"].s().set(task_id="body").on_error(app.tasks["tell"].s())
    app.store.set_chord_size(GROUP, 1)
    raised = app.backend.encode(app.backend.encode_result(ValueError("no"), "FAILURE"))
    app.store.add_chord_part(ChordPart(GROUP, "member", 0, False, raised, app.backend.encode(dict(signature))))
    found = app.store.chord_parts(GROUP)
    monkeypatch.setattr(app.store, "chord_parts", lambda group_id: found)
    for _ in range(2):
        chords.dispatch(app.backend, GROUP)
    assert told == ["body"]
