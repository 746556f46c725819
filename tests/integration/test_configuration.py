"""The ways in which an app is configured, and what runs tasks besides a worker."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from celery import chain, chord, group, shared_task, states
from celery.exceptions import NotRegistered

from celeriac import Celery
from celeriac.errors import CeleriacWarning, OptionError, SettingsError, Unroutable
from tests.integration.sites import APP, Site, counts, lines
from tests.integration.tasks import make_app
from tests.support import Program, wait_for
from tests.support.plugin import WorkerFactory


@pytest.fixture
def eager(tmp_path: Path) -> Iterator[Celery]:
    app = make_app(f"sqlite:///{tmp_path}/eager.db", task_always_eager=True)
    yield app
    app.close()


def test_a_setting_misspelt_after_the_others_were_read_stops_the_worker(tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path}/late.db")
    assert app.store.sizes() == []
    app.conf.celeriac_leese_seconds = 5
    with pytest.raises(SettingsError, match=r"celeriac_leese_seconds.*celeriac_lease_seconds"):
        app.Worker(pool="solo")
    app.close()
    app.store.close()


@pytest.mark.parametrize("option", ["idempotency_key", "idempotency_ttl"])
def test_what_a_declaration_says_is_refused_in_a_call(eager: Celery, option: str) -> None:
    with pytest.raises(OptionError, match=f"task add, option {option}: .* for one call"):
        eager.send_task("add", (1, 2), **{option: "mine"})
    sender = make_app(eager.conf.broker_url)
    with pytest.raises(OptionError):
        sender.tasks["add"].apply_async((1, 2), **{option: "mine"})
    with pytest.raises(OptionError):
        sender.tasks["add"].s(1, 2).set(**{option: "mine"}).delay()
    assert sender.store.sizes() == []
    sender.close()
    sender.store.close()


# -- eagerly


def test_eager_tasks_run_here_and_send_nothing(eager: Celery) -> None:
    tasks = eager.tasks
    assert tasks["add"].delay(1, 2).get() == 3
    assert chain(tasks["add"].s(1, 2), tasks["add"].s(3)).delay().get() == 6
    assert group(tasks["add"].s(number, 1) for number in range(3)).delay().get() == [1, 2, 3]
    assert chord([tasks["add"].s(1, 1)], tasks["collect"].s()).delay().get() == [2]
    assert tasks["retry_until"].delay(2).get() == 2
    with pytest.raises(ValueError, match="eager"):
        tasks["fail"].delay("eager").get()
    assert eager.store.sizes() == []
    eager.store.close()


def test_an_eager_coroutine_runs(eager: Celery) -> None:
    assert eager.tasks["echo_later"].delay(5).get() == 5
    assert eager.tasks["retry_later_until"].delay(2).get() == 2
    assert eager.tasks["echo_later"].apply((6,)).get() == 6


def test_an_eager_keyed_task_runs_each_time(eager: Celery, tmp_path: Path) -> None:
    """There is no store to remember it in."""
    journal = str(tmp_path / "journal")
    assert eager.tasks["keyed"].delay("k", journal).get() == eager.tasks["keyed"].delay("k", journal).get() == "k 0"
    assert lines(journal) == ["k 0", "k 0"]


async def _awaited(app: Celery) -> int:
    return int(await app.tasks["echo_later"](7))


def test_a_coroutine_called_directly_is_awaited(eager: Celery) -> None:
    assert asyncio.run(_awaited(eager)) == 7


# -- declared elsewhere


@shared_task(name="declared_elsewhere", idempotency_key="elsewhere:{x}")
def declared_elsewhere(x: int) -> int:
    return x * 3


def test_shared_tasks_are_every_apps(tmp_path: Path) -> None:
    first, second = (Celery(name, broker=f"sqlite:///{tmp_path}/{name}.db") for name in ("first", "second"))
    for app in (first, second):
        app.finalize()
        assert app.tasks["declared_elsewhere"].apply((2,)).get() == 6
        app.tasks["declared_elsewhere"].delay(2)
        assert app.store.size("celery") == 1
        # With all that celeriac adds.
        app.tasks["declared_elsewhere"].delay(2)
        assert app.store.size("celery") == 1
        app.close()
        app.store.close()


def test_a_shared_task_runs_in_a_worker(site: Site) -> None:
    site.worker("solo")
    assert site.shared.delay(4).get(timeout=30) == 8


MODULE = """
from celeriac import Celery
from celeriac.errors import SettingsError

class Settings:
    CELERY_BROKER_URL = "sqlite:///orders.db"
    CELERY_TASK_DEFAULT_QUEUE = "orders"
    CELERY_TASK_ROUTES = {"named.slow": {"queue": "slow"}}
    CELERY_TASK_TIME_LIMIT = 60
    OTHER_APPS_SETTING = 1

app = Celery("named")
app.config_from_object(Settings, namespace="CELERY")

@app.task(name="named.quick")
def quick(): return "quick"

@app.task(name="named.slow")
def slow(): return "slow"
"""
CLIENT = """
from named import app, quick, slow
print(quick.delay().get(timeout=60), slow.delay().get(timeout=60), app.conf.task_time_limit)
"""


def test_settings_from_an_object_under_a_namespace(worker_factory: WorkerFactory) -> None:
    """A URL of a relative path, a default queue and routes, for the worker and for whoever sends."""
    folder = worker_factory.folder
    (folder / "named.py").write_text(MODULE)
    (folder / "client.py").write_text(CLIENT)
    worker_factory("named", pool="solo", queues=["orders"])
    worker_factory("named", pool="solo", queues=["slow"])
    client = worker_factory.start(Program([sys.executable, "client.py"], folder, name="client"))
    assert client.wait() == 0, client.log()
    assert client.log().split() == ["quick", "slow", "60"]
    assert (folder / "orders.db").exists()


# -- beat


@pytest.fixture
def beaten(tmp_path: Path) -> Iterator[Site]:
    journal = str(tmp_path / "ticks")
    every = {"task": "effect", "schedule": 0.3, "args": [journal, "tick"]}
    keyed = {"task": "keyed", "schedule": 0.3, "args": ["beat", journal]}
    late = {"task": "effect", "schedule": 0.3, "args": [journal, "expired"], "options": {"countdown": 9, "expires": 1}}
    site = Site(tmp_path, beat_schedule={"every": every, "keyed": keyed, "late": late})
    yield site
    site.close()


def test_beat_sends_what_is_due(beaten: Site, tmp_path: Path) -> None:
    beaten.worker("solo")
    command = [sys.executable, "-m", "celery", "-A", APP, "beat", "-s", str(tmp_path / "schedule"), "--pidfile="]
    env = {"SITE_BROKER": beaten.url, "SITE_SETTINGS": json.dumps(beaten.settings)}
    journal = str(tmp_path / "ticks")
    with Program(command, tmp_path, name="beat", env=env):
        wait_for(lambda: counts(journal)["tick"] >= 4, 60)
    # A key holds for what beat sends, too.
    assert counts(journal)["beat 0"] == 1
    assert counts(journal)["expired"] == 0


# -- what a publish says


def _tokyo(folder: Path) -> Site:
    return Site(folder, timezone="Asia/Tokyo", enable_utc=False)


def test_a_time_without_a_zone_is_one_of_the_apps(tmp_path: Path) -> None:
    site = _tokyo(tmp_path)
    there = datetime.now(timezone(timedelta(hours=9))).replace(tzinfo=None)
    with site.working():
        assert site.add.apply_async((1, 2), eta=there + timedelta(seconds=0.5)).get(timeout=30) == 3
        assert site.add.apply_async((1, 2), eta=(there + timedelta(seconds=0.5)).isoformat()).get(timeout=30) == 3
        late = site.add.apply_async((1, 2), expires=there - timedelta(seconds=60))
        wait_for(lambda: site.state(late.id) == states.REVOKED, 30)
    site.close()


@pytest.mark.parametrize("task_id", [5, uuid.UUID(int=5)])
def test_an_id_is_text(tmp_path: Path, task_id: object) -> None:
    site = Site(tmp_path)
    result = site.add.apply_async((1, 2), task_id=task_id)
    assert result.id == str(task_id)
    with site.working():
        assert result.get(timeout=30) == 3
    site.close()


def test_half_a_character_travels(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.working():
        assert site.echo_later.delay("\ud800").get(timeout=30) == "\ud800"
    site.close()


def test_a_publish_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(Unroutable, match=r"task add: no queue is bound to exchange 'foo' with routing key 'bar'"):
        site.add.apply_async((1, 1), exchange="foo", routing_key="bar")
    assert site.queues() == {}
    site.close()


def test_an_unknown_task_where_results_are_extended(tmp_path: Path) -> None:
    """Celery's stand-in for its request has no arguments."""
    site = Site(tmp_path, result_extended=True)
    with site.working() as worker:
        result = site.app.send_task("no.such.task", (1, 2))
        with pytest.raises(NotRegistered):
            result.get(timeout=30)
        site.wait_ended([result.id])
        assert site.letter(result.id).reason == "unknown-task"
        assert site.add.delay(1, 1).get(timeout=30) == 2
        assert worker.running
    site.close()


def test_extended_results_carry_stamps(tmp_path: Path) -> None:
    site = Site(tmp_path, result_extended=True)
    with site.working():
        signature = site.add.s(1, 2)
        signature.stamp(order="7", tenants=["a", "b"])
        result = signature.delay()
        assert result.get(timeout=30) == 3
        meta = site.app.backend.get_task_meta(result.id)
    assert (meta["args"], meta["kwargs"]) == ([1, 2], {})
    assert sorted(meta["stamped_headers"]) == ["order", "tenants"]
    assert (meta["order"], meta["tenants"]) == ("7", ["a", "b"])
    site.close()


def test_a_key_that_the_broker_does_not_keep_is_told_of_once() -> None:
    app = Celery("elsewhere", broker="memory://", task_ignore_result=True)
    app.task(name="charge", shared=False, idempotency_key="{order}")(_charge)
    with pytest.warns(CeleriacWarning, match=r"task charge, option idempotency_key: a memory broker keeps no keys"):
        app.tasks["charge"].delay(7)
    app.tasks["charge"].delay(7)  # a second warning would be an error
    app.close()


def _charge(order: int) -> int:
    return order


# -- beat


def test_beat_waits_for_its_store_and_ends_with_it(tmp_path: Path, worker_factory: WorkerFactory) -> None:
    path = tmp_path / "volume" / "shop.db"
    env = {
        "SITE_BROKER": f"sqlite:///{path}",
        "SITE_SETTINGS": json.dumps({"beat_schedule": {"often": {"task": "add", "schedule": 0.2, "args": (1, 2)}}}),
    }
    command = [sys.executable, "-m", "celery", "-A", APP, "beat", "-s", str(tmp_path / "schedule"), "-l", "INFO"]
    beat = worker_factory.start(Program(command, tmp_path, name="beat", env=env))
    wait_for(lambda: "Trying again in 2 seconds" in beat.log(), 60, beat.tail)
    path.parent.mkdir()
    app = make_app(f"sqlite:///{path}")
    wait_for(lambda: app.store.size("celery") >= 2, 60, beat.tail)
    app.close()
    app.store.close()
    path.rename(tmp_path / "moved.db")
    assert beat.wait() == 1
    assert beat.log().splitlines()[-1].endswith("restart every process that uses it")
