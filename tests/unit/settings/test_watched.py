"""Settings may change after they were read, and what follows from them changes with them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.errors import OptionError, SettingsError


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/first.db", set_as_current=False)

    @app.task(name="watched.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    app.finalize()
    yield app
    app.close()


def _assign(app: Celery, url: str) -> None:
    app.conf.broker_url = url


def _item(app: Celery, url: str) -> None:
    app.conf["broker_url"] = url


def _update(app: Celery, url: str) -> None:
    app.conf.update(broker_url=url)


WAYS = [_assign, _item, _update]


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("used", [False, True])
def test_another_broker_is_followed_everywhere(
    app: Celery, tmp_path: Path, change: Callable[[Celery, str], None], used: bool
) -> None:
    url = f"sqlite:///{tmp_path}/second.db"
    assert app.conf.result_backend.endswith("first.db")
    if used:
        app.tasks["watched.add"].delay(1, 2)
        assert app.backend.store is app.store
    change(app, url)
    assert app.conf.result_backend == url
    assert app.store.location.endswith("second.db")
    assert app.backend.store is app.store
    assert app.keeper.store is app.store
    assert app.execution_room.store is app.store
    result = app.tasks["watched.add"].delay(1, 2)
    assert result.backend.store is app.store
    assert [size.ready for size in app.store.sizes()] == [1]


def test_a_broker_that_comes_late_brings_its_defaults(tmp_path: Path) -> None:
    app = Celery("shop", broker="redis://localhost", set_as_current=False)
    assert (app.conf.task_acks_late, app.has_store) == (False, False)
    app.conf.broker_url = f"sqlite:///{tmp_path}/late.db"
    assert (app.conf.task_acks_late, app.has_store) == (True, True)
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.result_backend == f"sqlite:///{tmp_path}/late.db"
    app.close()


def test_a_broker_of_others_takes_them_away(app: Celery) -> None:
    assert app.conf.task_acks_late
    app.conf.broker_url = "redis://localhost"
    assert not app.has_store
    assert not app.conf.task_acks_late
    assert app.conf.result_backend is None


def test_queues_declared_late_count_as_declared(app: Celery) -> None:
    assert app.conf.task_create_missing_queues
    app.conf.task_queues = {"payments": {}}
    assert not app.conf.task_create_missing_queues
    del app.conf["task_queues"]
    assert app.conf.task_create_missing_queues


def test_own_settings_are_followed(app: Celery) -> None:
    assert app.own_settings.max_crashes == 3
    app.conf.celeriac_max_crashes = 5
    assert app.own_settings.max_crashes == 5
    app.conf.pop("celeriac_max_crashes")
    assert app.own_settings.max_crashes == 3


@pytest.mark.parametrize("change", [lambda conf: conf.update(timezone="UTC"), lambda conf: conf.pop("timezone", None)])
def test_other_settings_leave_what_is_open(app: Celery, change: Callable[[Any], None]) -> None:
    rooms = (app.store, app.backend, app.execution_room, app.keeper)
    change(app.conf)
    assert (app.store, app.backend, app.execution_room, app.keeper) == rooms


def test_a_copy_changes_nothing(app: Celery) -> None:
    app.conf.copy().broker_url = "redis://localhost"
    assert app.has_store


def test_cleared_settings(app: Celery) -> None:
    before = app.conf.broker_url
    app.conf.clear()
    assert before != app.conf.broker_url == "sqlite:///shop.db"


def test_an_app_travels_with_what_was_changed(app: Celery, tmp_path: Path) -> None:
    app.conf.broker_url = f"sqlite:///{tmp_path}/second.db"
    again = pickle.loads(pickle.dumps(app))
    assert again.conf.result_backend.endswith("second.db")
    again.close()


BAD = {"task_acks_lat": True}


@pytest.fixture
def refused() -> Celery:
    app = Celery("shop", broker="sqlite:///shop.db", set_as_current=False)
    app.conf.update(BAD)
    return app


READS: list[Callable[[Celery], object]] = [
    lambda app: app.conf.task_acks_late,
    lambda app: app.conf["task_acks_late"],
    lambda app: app.conf.get("broker_url"),
    lambda app: app.conf.broker_url,
    lambda app: app.send_task("anything"),
    lambda app: app.has_store,
    lambda app: app.backend,
]


@pytest.mark.parametrize("read", READS)
def test_what_cannot_be_meant_is_refused_every_time(refused: Celery, read: Callable[[Celery], object]) -> None:
    for _ in range(3):
        with pytest.raises(SettingsError, match="task_acks_late"):
            read(refused)


def test_a_task_says_so_every_time(refused: Celery) -> None:
    @refused.task(name="only", shared=False)
    def task() -> None: ...

    for _ in range(3):
        with pytest.raises(SettingsError, match="task_acks_late"):
            task.delay()
    assert not refused.finalized
    refused.conf.pop("task_acks_lat")
    refused.finalize()
    assert "only" in refused.tasks


def test_mended_settings_are_read_again(refused: Celery) -> None:
    with pytest.raises(SettingsError):
        read_url(refused)
    refused.conf.pop("task_acks_lat")
    assert read_url(refused) == "sqlite:///shop.db"
    assert refused.conf.task_acks_late


def read_url(app: Celery) -> object:
    return app.conf.broker_url


def test_a_url_that_cannot_be_meant_is_refused_where_it_is_given(app: Celery) -> None:
    assert app.has_store
    with pytest.raises(SettingsError, match="sqlite"):
        app.conf.broker_url = "sqlite://shop.db"
    with pytest.raises(SettingsError, match="sqlite"):
        read_url(app)
    app.conf.broker_url = "sqlite:///shop.db"
    assert app.has_store


@pytest.mark.parametrize("backend", ["rpc://", "rpc", "amqp://"])
def test_results_in_queues_are_refused(backend: str) -> None:
    app = Celery("shop", broker="sqlite:///shop.db", backend=backend, set_as_current=False)
    with pytest.raises(SettingsError, match=r"result_backend.*Leave it out"):
        read_url(app)
    assert Celery("shop", broker="redis://localhost", backend=backend, set_as_current=False).conf.broker_url


def test_results_in_another_file_are_refused(tmp_path: Path) -> None:
    app = Celery(
        "shop", broker=f"sqlite:///{tmp_path}/a.db", backend=f"sqlite:///{tmp_path}/b.db", set_as_current=False
    )
    with pytest.raises(SettingsError, match="another file than the broker's"):
        read_url(app)


def test_results_in_the_same_file_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = Celery("shop", broker="sqlite:///a.db", backend=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    assert app.conf.task_acks_late


def test_a_refused_option_is_refused_every_time(tmp_path: Path) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)

    @app.task(name="watched.refused", shared=False, idempotency_key="x:{order.id}")
    def refused(order: object) -> None: ...

    for _ in range(3):
        with pytest.raises(OptionError, match="order"):
            refused.delay(1)
    assert app.store.sizes() == []


def test_passwords_of_outboxes_are_not_shown() -> None:
    app = Celery("shown", broker="sqlite:///x.db", set_as_current=False)
    app.conf.celeriac_outboxes = ["postgresql://shop:secret@db/orders", "sqlite:///a.db"]
    app.finalize()
    assert "secret" not in app.conf.humanize()
    assert "db/orders" in app.conf.humanize()
    assert app.conf.celeriac_outboxes[0].count("secret") == 1
