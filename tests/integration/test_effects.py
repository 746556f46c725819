"""A step that is recorded in the transaction that does it happens once, whatever dies and however often it runs."""

from __future__ import annotations

import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from celery.bin.base import CLIContext
from click.testing import CliRunner
from sqlalchemy.orm import Session

from celeriac.cli.effects import effects as effects_command
from celeriac.errors import TransactionError
from celeriac.execution.effects import prune, scope_of
from celeriac.store.tables import Outside, ddl
from tests.integration import effects  # noqa: F401  # its tasks
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for


class Shop:
    """The application's database: charges, and the steps that made them."""

    def __init__(self, where: str, url: str, connect: Callable[[], Any]) -> None:
        #: What the tasks are given: a path, or a URL.
        self.where = where
        self.url = url
        self.connect = connect

    def charges(self) -> list[int]:
        with closing(self.connect()) as raw:
            return [row[0] for row in raw.execute("SELECT id FROM charges ORDER BY id").fetchall()]


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        path = str(tmp_path / "shop.db")
        with closing(sqlite3.connect(path)) as raw:
            raw.executescript(ddl("effect", "sqlite") + "CREATE TABLE charges (id)")
        yield Shop(path, f"sqlite:///{path}", lambda: sqlite3.connect(path))
        return
    server, name = request.getfixturevalue("postgres_url"), f"shop_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            url = f"{server.rpartition('/')[0]}/{name}"
            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute((ddl("effect", "postgresql") + "CREATE TABLE charges (id int)").encode())
            yield Shop(url, url, lambda: psycopg.connect(url))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _after_a_crash(site: Site, shop: Shop, point: str, task: str) -> list[str]:
    """Run a charge whose worker dies at ``point``; what each run saw that came so far."""
    journal, flag = site.file(), site.file("flag")
    worker = site.worker("solo")
    result = site.app.tasks[task].delay(shop.where, 7, journal, point, flag)
    wait_for(lambda: not worker.running, 60)
    site.worker("solo")
    assert result.get(timeout=60) == {"receipt": 70}
    assert shop.charges() == [7]
    return lines(journal)


@pytest.mark.parametrize("task", ["charge", "charge_keyed"])
def test_a_worker_killed_after_the_commit_leaves_its_value_to_the_next(site: Site, shop: Shop, task: str) -> None:
    assert _after_a_crash(site, shop, "after", task) == ["True", "False"]


def test_a_worker_killed_before_the_commit_has_done_nothing(site: Site, shop: Shop) -> None:
    assert _after_a_crash(site, shop, "before", "charge") == ["True"]


def test_a_retry_finds_what_the_attempt_before_it_did(site: Site, shop: Shop) -> None:
    site.app.conf.update(celeriac_retry_backoff=0.01)
    site.settings["celeriac_retry_backoff"] = 0.01
    journal = site.file()
    result = site.charge_and_fail.delay(shop.where, 7, journal)
    site.worker("solo")
    assert result.get(timeout=60) == 0
    assert lines(journal) == ["True", "False", "False"]
    assert shop.charges() == [7]


def test_a_zombie_and_its_successor_wait_for_each_other(site: Site, shop: Shop) -> None:
    """The first worker is stopped past its lease, in the middle of the step."""
    journal, gate = site.file(), site.file("gate")
    first = site.worker("solo")
    result = site.charge_slowly.delay(shop.where, 7, journal, gate)
    wait_line(journal, "first True")
    first.stop()
    site.worker("solo", wait=False)
    wait_for(lambda: counts(journal)["at it"] == 2, 60)
    open_gate(gate)
    first.cont()
    assert result.get(timeout=60) == 7
    wait_for(lambda: counts(journal)["first False"] == 1, 60)
    assert shop.charges() == [7]


def test_under_a_storm_of_kills_every_step_happens_once(site: Site, shop: Shop) -> None:
    site.settings["celeriac_max_crashes"] = 1000
    dice = random.Random(11)
    ids = [site.charge_many.delay(shop.where, number).id for number in range(40)]
    for _ in range(4):
        worker = site.worker("threads", concurrency=4)
        already = len(site.ended(ids))
        wait_for(lambda before=already: len(site.ended(ids)) > before + 2, 60)  # type: ignore[misc]
        time.sleep(dice.random() * 0.1)
        worker.kill()
    site.worker("threads", concurrency=4)
    site.wait_ended(ids)
    assert shop.charges() == list(range(40))


# -- what it is given


class _Run:
    """Stands for a run of a task, as far as its scope goes."""

    name, key_template = "charge", None

    def __init__(self, task_id: str | None) -> None:
        self.request = type("Request", (), {"id": task_id})()


def _step(site: Site, connection: object, task_id: str, step: str = "charge") -> Any:
    task = site.app.tasks["add"]
    task.push_request(id=task_id)
    try:
        with task.effect_once(step, connection) as first:
            if first:
                first.save({"by": task_id})
            return bool(first), first.value
    finally:
        task.pop_request()


def test_steps_and_tasks_are_told_apart(site: Site, shop: Shop) -> None:
    with closing(shop.connect()) as raw:
        assert _step(site, raw, "a") == (True, {"by": "a"})
        assert _step(site, raw, "a") == (False, {"by": "a"})
        assert _step(site, raw, "a", "mail") == (True, {"by": "a"})
        assert _step(site, raw, "b") == (True, {"by": "b"})
        raw.rollback()
        assert _step(site, raw, "a") == (True, {"by": "a"})


def test_a_session_of_sqlalchemy(site: Site, shop: Shop) -> None:
    engine = sqlalchemy.create_engine(shop.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        for expected in (True, False):
            with Session(engine) as session, session.begin():
                assert _step(site, session, "a")[0] is expected
    finally:
        engine.dispose()


def test_a_block_that_raised_was_not_done(site: Site, shop: Shop) -> None:
    """Also where its caller commits what was written before."""
    task = site.app.tasks["add"]
    task.push_request(id="a")
    with closing(shop.connect()) as raw:
        raw.execute("INSERT INTO charges VALUES (1)")
        with pytest.raises(ZeroDivisionError), task.effect_once("charge", raw):
            raise ZeroDivisionError
        raw.commit()
        assert shop.charges() == [1]
        with task.effect_once("charge", raw) as first:
            assert first
    task.pop_request()


def test_only_who_does_it_may_save(site: Site, shop: Shop) -> None:
    task = site.app.tasks["add"]
    task.push_request(id="a")
    with closing(shop.connect()) as raw:
        _step(site, raw, "a")
        with pytest.raises(TransactionError, match="was done before"), task.effect_once("charge", raw) as again:
            again.save(2)
        assert _step(site, raw, "a") == (False, {"by": "a"})
    task.pop_request()


def test_refusals(site: Site, shop: Shop, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(shop.where, isolation_level=None))
        if shop.url.startswith("sqlite")
        else psycopg.connect(shop.url, autocommit=True) as raw,
        pytest.raises(TransactionError, match="commits by itself"),
    ):
        _step(site, raw, "a")
    missing = pytest.raises(TransactionError, match=r"no table celeriac_effect.*effects sql")
    with closing(sqlite3.connect(tmp_path / "bare.db")) as bare, missing:
        _step(site, bare, "a")
    with pytest.raises(TransactionError, match="called as a function"):
        scope_of(_Run(None))
    with pytest.raises(TransactionError, match="int is no connection"):
        _step(site, 5, "a")


def test_old_steps_are_forgotten(site: Site, shop: Shop) -> None:
    with closing(shop.connect()) as raw:
        _step(site, raw, "old")
        raw.execute("UPDATE celeriac_effect SET made_at = made_at - 1000")
        _step(site, raw, "new")
        raw.commit()
    with closing(Outside(shop.url)) as outside:
        assert prune(outside, 2000) == 0
    context = CLIContext(app=site.app, no_color=True, workdir=None)
    done = CliRunner().invoke(effects_command, ["prune", "--older-than", "15m", shop.url], obj=context)
    assert done.stdout.startswith("1 step in "), done.output
    with closing(shop.connect()) as raw:
        assert _step(site, raw, "new")[0] is False
        assert _step(site, raw, "old")[0] is True


def test_the_scope_is_the_key_or_the_id(site: Site) -> None:
    keyed = site.app.tasks["charge_keyed"]
    known: list[tuple[dict[str, Any], str]] = [
        ({"celeriac_key": {"key": "charge:7"}}, "charge_keyed key charge:7"),
        ({"args": ["url", 8, "journal"]}, "charge_keyed key charge:8"),  # on a broker that keeps no keys
    ]
    for headers, expected in known:
        keyed.push_request(id="an id", **headers)
        assert scope_of(keyed) == expected
        keyed.pop_request()
    assert scope_of(_Run("an id")) == "charge id an id"
