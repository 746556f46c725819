"""What a declaration of retries cannot mean is said where it is declared, naming task, option and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Task
from kombu import Queue

from celeriac import Celery, Retries
from celeriac.core.retry_options import policy_of
from celeriac.errors import CeleriacWarning, OptionError, SettingsError
from tests.support.ids import without_addresses


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    yield app
    app.close()


def body() -> None:
    """Nothing."""


def declare(app: Celery, **options: Any) -> Any:
    app.task(name="shop.charge", shared=False, **options)(body)
    app.finalize()
    return app.tasks["shop.charge"]


@pytest.mark.parametrize(
    ("options", "option", "said"),
    [
        ({"retries": "often"}, "retries", "'often' is neither a number from 0"),
        ({"retries": {}}, "retries", "{} is neither"),
        ({"retries": 3, "autoretry_for": (OSError,)}, "retries", "Leave retries out, or say Retries(on=(…,))"),
        ({"retries": False, "autoretry_for": (OSError,)}, "retries", "beside autoretry_for"),
        ({"retries": 3, "max_retries": 5}, "max_retries", "Write Retries(max_retries=…)"),
        ({"retries": Retries(), "retry_backoff": True}, "retry_backoff", "Write Retries(backoff=…)"),
        ({"retries": Retries(), "retry_backoff_max": 60}, "retry_backoff_max", "Write Retries(cap=…)"),
        ({"retries": Retries(), "retry_jitter": False}, "retry_jitter", "Write Retries(jitter=…)"),
        ({"retries": Retries(), "retry_kwargs": {"countdown": 5}}, "retry_kwargs", "declared beside retries="),
        ({"retries": Retries(), "default_retry_delay": 5}, "default_retry_delay", 'growth="fixed"'),
        ({"retries": Retries(), "dont_autoretry_for": (OSError,)}, "dont_autoretry_for", "Retries(on=…)"),
        ({"retries": Retries(), "durable": False}, "retries", "durable=False leaves the task to Celery"),
    ],
    ids=lambda value: without_addresses(value) if isinstance(value, dict) else "",
)
def test_options_that_contradict_each_other(app: Celery, options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        declare(app, **options)
    assert str(caught.value).startswith(f"task shop.charge, option {option}: ")


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 3},
        {"retries": False, "max_retries": 5, "default_retry_delay": 1},  # for self.retry()
        {"retries": False, "durable": False},
        {"retries": None, "autoretry_for": (OSError,), "retry_backoff": True},
        {"retries": 3, "autoretry_for": ()},
        {"retries": Retries(queue="anything")},
        {"retries": [(OSError, 3), (Exception, False)]},
    ],
    ids=without_addresses,
)
def test_options_that_go_together(app: Celery, options: dict[str, Any]) -> None:
    assert declare(app, **options).retries == options["retries"]


def test_a_base_classs_limit_is_for_tasks_that_say_nothing(app: Celery) -> None:
    class Base(Task):  # type: ignore[misc]  # Celery has no types
        abstract = True
        max_retries = 9

    assert declare(app, base=Base, retries=3).retries == 3


def test_a_base_classs_autoretry_for_would_be_in_force(app: Celery) -> None:
    class Base(Task):  # type: ignore[misc]  # Celery has no types
        abstract = True
        autoretry_for = (OSError,)

    with pytest.raises(OptionError, match=re.escape("autoretry_for=() where a base has it")):
        declare(app, base=Base, retries=3)
    assert declare(app, base=Base, retries=3, autoretry_for=()).retries == 3


# -- queues

UNKNOWN = "queue 'slwo' is not in task_queues; did you mean 'slow'? Declare it there, or set task_create_missing_queues"


@pytest.mark.parametrize(
    "retries", [Retries(queue="slwo"), {OSError: Retries(queue="slow"), KeyError: Retries(queue="slwo")}]
)
def test_a_queue_that_is_not_declared_where_queues_are(app: Celery, retries: object) -> None:
    app.conf.task_queues = [Queue("celery"), Queue("slow")]
    with pytest.raises(OptionError, match=re.escape(f"task shop.charge, option retries: {UNKNOWN}")):
        declare(app, retries=retries)


@pytest.mark.parametrize(
    "conf",
    [
        {"task_queues": [Queue("celery"), Queue("slwo")]},
        {"task_queues": {"celery": {}, "slwo": {}}},
        {"task_queues": [Queue("celery")], "task_create_missing_queues": True},
        {},
    ],
    ids=without_addresses,
)
def test_a_queue_that_is_declared_or_made(app: Celery, conf: dict[str, Any]) -> None:
    app.conf.update(conf)
    assert declare(app, retries=Retries(queue="slwo")).retries.queue == "slwo"


# -- for a whole app


def test_an_apps_policy(tmp_path: Path) -> None:
    policy = Retries(9, backoff=1)
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", retries=policy, set_as_current=False)
    assert app.own_settings.declared_retries() == policy
    app.conf.celeriac_retries = {OSError: 2}
    assert app.own_settings.declared_retries() == policy_of("", {OSError: 2})
    app.conf.celeriac_retries = None
    assert app.own_settings.declared_retries() is None
    app.close()


@pytest.mark.parametrize(
    ("option", "said"),
    [("often", "'often' is neither a number from 0"), (True, "True is neither"), (Retries(queue="slwo"), UNKNOWN)],
)
def test_an_apps_policy_that_cannot_be_meant(tmp_path: Path, option: object, said: str) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", retries=option, set_as_current=False)
    app.conf.task_queues = [Queue("celery"), Queue("slow")]
    with pytest.raises(SettingsError, match=f"setting celeriac_retries: {re.escape(said)}"):
        _ = app.own_settings
    app.close()


def test_the_environment_gives_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    monkeypatch.setenv("CELERIAC_RETRIES", "7")
    assert app.own_settings.declared_retries() == Retries(7)
    app.close()


# -- what is told is not made before its time


def test_a_task_that_is_told_is_named_before_the_app_is_ready(tmp_path: Path) -> None:
    """Celery makes its tasks late: a decorated function is a proxy until then, and looking into it would make it."""
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    told = app.task(name="shop.told", shared=False)(body)
    Retries(on_exhausted=told)
    assert not told.__evaluated__()
    app.close()


def test_a_self_that_it_is_not_given_is_told_of(app: Celery) -> None:
    @app.task(name="shop.unbound", shared=False)
    def unbound(self: Any, order: int) -> None: ...

    @app.task(name="shop.bound", shared=False, bind=True)
    def bound(self: Any, order: int) -> None: ...

    class Own(Task):  # type: ignore[misc]  # Celery has no types
        name = "shop.own"

        def run(self, order: int) -> None: ...

    with pytest.warns(CeleriacWarning, match=r"task shop\.unbound: .* bind=True") as told:
        app.register_task(Own())  # which finalizes the app
    assert len({str(one.message) for one in told}) == 1
