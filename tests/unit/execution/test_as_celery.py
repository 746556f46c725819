"""Celery's options of retries mean to a task of celeriac's what they mean to one of Celery's: each case is run by both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import Task as StockTask
from celery.exceptions import MaxRetriesExceededError, Retry

import celeriac
from celeriac.core.attempt import Attempt
from celeriac.core.current import attempting
from celeriac.core.message import DeliveryFacts, Lease
from tests.support.ids import without_addresses

#: What a publish is given that these options are about.
SHOWN = ("retries", "queue", "priority", "expires", "headers")


class Recording(StockTask):  # type: ignore[misc]  # Celery has no types
    """Publishes nothing, and keeps what would be."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        self.app.published.append((args, kwargs, options))


@pytest.fixture
def stock() -> celery.Celery:
    app = celery.Celery("stock", broker="memory://", set_as_current=False)
    app.published = []
    return app


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[celeriac.Celery]:
    app = celeriac.Celery("ours", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    app.published = []
    yield app
    app.close()
    app.store.close()


def _declare(app: Any, body: Callable[..., Any], options: dict[str, Any]) -> Any:
    task = app.task(bind=True, base=Recording, name="t", shared=False, **options)(body)
    app.finalize()
    return app.tasks[task.name]


def _attempt(task: Any) -> AbstractContextManager[Any]:
    if not isinstance(task.app, celeriac.Celery):
        return nullcontext()
    return attempting(Attempt("id", task.name, DeliveryFacts(Lease(1, 1)), "w", time.time(), task=task))


def _run(task: Any, retries: int, **request: Any) -> Any:
    """One run of the task, as Celery's tracer has it: what it would publish, or the error that ends it."""
    task.app.published.clear()
    usual = {"headers": None, "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 3}, "args": ()}
    task.push_request(id="id", retries=retries, called_directly=False, kwargs={}, **(usual | request))
    began = time.time()
    try:
        with _attempt(task):
            task.run()
    except Retry:
        ((args, kwargs, options),) = task.app.published
        return "again", args, kwargs, _wait(options, began), {name: options.get(name) for name in SHOWN}
    except Exception as error:  # noqa: BLE001  # whichever the one raises, the other must
        return "over", type(error), str(error).partition("[")[0]
    finally:
        task.pop_request()
    return "done"


def _wait(options: dict[str, Any], began: float) -> Any:
    """Seconds from now, within what the run itself may take."""
    if options.get("eta"):
        return pytest.approx(options["eta"].timestamp() - began, abs=2.0)
    return options["countdown"]


def _compared(stock: Any, ours: Any, body: Callable[..., Any], options: dict[str, Any], **request: Any) -> list[Any]:
    theirs, mine = _declare(stock, body, dict(options)), _declare(ours, body, dict(options))
    seen = []
    for retries in (0, 1, 2, 3, 4, 8, 20):
        wanted, got = _run(theirs, retries, **request), _run(mine, retries, **request)
        seen.append(wanted)
        if wanted[0] == got[0] == "again":
            # The start of the first run travels in a header of ours.
            got[4]["headers"] = {k: v for k, v in got[4]["headers"].items() if k != "celeriac_since"} or None
            wanted[4]["headers"] = wanted[4]["headers"] or None
        assert got == wanted, f"after {retries} retries"
    return seen


def _fails(self: Any) -> None:
    raise ConnectionError("down")


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 3),
        ({"default_retry_delay": 7}, 3),
        ({"default_retry_delay": 0}, 3),
        ({"default_retry_delay": 3600}, 3),
        ({"max_retries": 0}, 0),
        ({"max_retries": 8}, 8),
        ({"max_retries": None}, 21),
        ({"retry_kwargs": {"max_retries": 1}}, 1),
        ({"retry_kwargs": {"max_retries": 1}, "max_retries": None}, 1),
        ({"retry_kwargs": {"max_retries": None}, "max_retries": 2}, 2),
        ({"retry_kwargs": {"countdown": 5}}, 3),
        ({"retry_kwargs": {"countdown": 0.25}}, 3),
        ({"retry_kwargs": {"countdown": None}}, 3),
        ({"retry_kwargs": {"queue": "slow"}}, 3),
        ({"retry_kwargs": {"expires": 60}}, 3),
        ({"retry_kwargs": {"headers": {"a": 1}}}, 3),
        ({"retry_kwargs": {"args": (7,), "countdown": 1}}, 3),
        ({"retry_kwargs": {"eta": datetime(2040, 1, 1, tzinfo=timezone.utc)}}, 3),
        ({"retry_backoff": True}, 3),
        ({"retry_backoff": 3, "max_retries": 30}, 21),
        ({"retry_backoff": 2.9}, 3),
        ({"retry_backoff": 0.5}, 3),
        ({"retry_backoff": 3, "retry_backoff_max": 10, "max_retries": 30}, 21),
        ({"retry_backoff": 30, "retry_backoff_max": 10}, 3),
        ({"retry_backoff": 30, "retry_backoff_max": 0}, 3),
        ({"retry_backoff": 3, "retry_kwargs": {"countdown": 99}}, 3),
        ({"retry_backoff": False, "retry_backoff_max": 10}, 3),
        ({"throws": (ConnectionError,)}, 3),
        ({"autoretry_for": [ConnectionError]}, 3),
        ({"dont_autoretry_for": (ConnectionError,)}, 0),
        ({"dont_autoretry_for": (ConnectionRefusedError,)}, 3),
        ({"autoretry_for": (ConnectionRefusedError,)}, 0),
    ],
    ids=without_addresses,
)
def test_autoretry_for(stock: Any, ours: Any, options: dict[str, Any], most: int) -> None:
    given = {"autoretry_for": (ConnectionError,), "retry_jitter": False} | options
    seen = _compared(stock, ours, _fails, given)
    assert [one[0] for one in seen] == ["again" if retries < most else "over" for retries in (0, 1, 2, 3, 4, 8, 20)]


def test_jitter_is_within_the_same_bounds(stock: Any, ours: Any) -> None:
    options = {"autoretry_for": (ConnectionError,), "retry_backoff": 10, "retry_backoff_max": 100, "max_retries": None}
    mine = _declare(ours, _fails, dict(options))
    for retries in range(8):
        waits = []
        for _ in range(40):
            _run(mine, retries)
            waits.append(ours.published[0][2]["eta"].timestamp() - time.time())
        longest = min(10 * 2**retries, 100)
        assert -2 <= min(waits) < longest / 2 < max(waits) <= longest


def _asks(how: dict[str, Any]) -> Callable[..., Any]:
    def body(self: Any) -> None:
        raise self.retry(**how)

    return body


@pytest.mark.parametrize(
    "options", [{}, {"max_retries": 1}, {"max_retries": None}, {"default_retry_delay": 5}], ids=without_addresses
)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"countdown": 9},
        {"countdown": 0},
        {"eta": datetime(2040, 1, 1, tzinfo=timezone.utc)},
        {"exc": ValueError("no")},
        {"max_retries": 4},
        {"max_retries": 0, "exc": KeyError("no")},
        {"queue": "slow"},
        {"expires": 60},
        {"args": (1,), "kwargs": {"a": 2}},
    ],
    ids=without_addresses,
)
def test_self_retry(stock: Any, ours: Any, options: dict[str, Any], how: dict[str, Any]) -> None:
    _compared(stock, ours, _asks(how), options)


def _asks_and_then_fails(self: Any) -> None:
    try:
        self.retry(max_retries=2)
    except MaxRetriesExceededError:
        raise ConnectionError("worse") from None


def _asks_with_an_error_that_is_retried(self: Any) -> None:
    raise self.retry(exc=ConnectionError("asked"), max_retries=2)


@pytest.mark.parametrize("body", [_asks_and_then_fails, _asks_with_an_error_that_is_retried])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_limit_of_a_call_holds_for_what_it_raises(stock: Any, ours: Any, body: Any, most: int) -> None:
    _compared(stock, ours, body, {"autoretry_for": (ConnectionError,), "max_retries": most, "retry_jitter": False})


def test_headers_and_expires_of_the_message_stay(stock: Any, ours: Any) -> None:
    expires = datetime(2040, 1, 1, tzinfo=timezone.utc).isoformat()
    _compared(stock, ours, _asks({}), {}, headers={"tenant": "a"}, expires=expires)


# -- where it differs, on purpose


def test_a_limit_of_one_call_is_no_other_runs(stock: Any, ours: Any) -> None:
    """In Celery 5.7 it stays on the task, for whatever this process runs of it next."""

    def body(self: Any, asks: bool = False) -> None:
        if self.request.kwargs.get("asks"):
            raise self.retry(max_retries=9)
        raise ConnectionError("down")

    options = {"autoretry_for": (ConnectionError,), "max_retries": 1}
    ends = {}
    for app in (stock, ours):
        task = _declare(app, body, dict(options))
        _run_asking(task)
        ends[app] = _run(task, 1)[0]
    assert ends == {stock: "again", ours: "over"}


def _run_asking(task: Any) -> None:
    info = {"exchange": "", "routing_key": "celery"}
    task.push_request(id="id", retries=0, called_directly=False, args=(), kwargs={"asks": True}, delivery_info=info)
    try:
        with _attempt(task), pytest.raises(Retry):
            task.run()
    finally:
        task.pop_request()


def test_a_priority_that_is_asked_for_is_given(ours: Any) -> None:
    """In Celery 5.7 that of the message's delivery undoes it."""
    assert _run(_declare(ours, _asks({"priority": 9}), {}), 0)[4]["priority"] == 9


def test_the_headers_of_a_call_leave_the_idempotency_key(ours: Any) -> None:
    key = {"key": "k", "digest": "d", "ttl": 1.0}
    seen = _run(_declare(ours, _asks({"headers": {"a": 1}}), {}), 0, headers={"celeriac_key": key, "b": 2})
    assert {**seen[4]["headers"], "celeriac_since": 0} == {"a": 1, "celeriac_key": key, "celeriac_since": 0}


@pytest.mark.parametrize("body", [_asks({"countdown": 9}), _fails], ids=["countdown", "policy"])
def test_what_waits_is_due_by_the_stores_clock(ours: Any, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    """Where the store has a clock of its own, and this host's is wrong: here five minutes late."""
    policy = celeriac.Retries(3, backoff=9, growth="fixed", jitter="none")
    monkeypatch.setattr(ours.store.database, "now", lambda: time.time() + 300)
    assert _run(_declare(ours, body, {"retries": policy}), 0)[3] == 309


def test_a_time_that_is_named_is_that_time(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours.store.database, "now", lambda: time.time() + 300)
    eta = datetime(2040, 1, 1, tzinfo=timezone.utc)
    assert _run(_declare(ours, _asks({"eta": eta}), {}), 0)[3] == eta.timestamp() - time.time()
