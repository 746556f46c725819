"""The same in the broker's own file: what is published in a transaction on it is sent if and only if that commits."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from celery import chain, chord, group
from sqlalchemy.orm import Session

from celeriac.errors import PublishRolledBack, TransactionError
from tests.integration.sites import Site, lines

Open = Callable[[str], AbstractContextManager[tuple[Any, Callable[[str], Any]]]]


class RolledBack(Exception):
    """Ends a transaction."""


@contextmanager
def _explicit(path: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.row_factory = sqlite3.Row
        raw.execute("BEGIN IMMEDIATE")
        with raw:
            yield raw, raw.execute


@contextmanager
def _implicit(path: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    with closing(sqlite3.connect(path)) as raw, raw:
        yield raw, raw.execute


@contextmanager
def _session(path: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with Session(engine) as session, session.begin():
            yield session, lambda text: session.execute(sqlalchemy.text(text))
    finally:
        engine.dispose()


@contextmanager
def _core(path: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection, lambda text: connection.execute(sqlalchemy.text(text))
    finally:
        engine.dispose()


WAYS: dict[str, Open] = {"begun": _explicit, "begun by itself": _implicit, "session": _session, "core": _core}


@pytest.fixture
def path(site: Site) -> str:
    """The broker's file, with a table of the application's in it."""
    location = site.store.location
    with closing(sqlite3.connect(location, isolation_level=None)) as raw:
        raw.execute("CREATE TABLE orders (id)")
    return location


@pytest.fixture(params=WAYS)
def opened(request: pytest.FixtureRequest, path: str) -> Callable[[], Any]:
    way = WAYS[request.param]
    return lambda: way(path)


def test_it_is_sent_with_the_commit(site: Site, opened: Callable[[], Any]) -> None:
    journal = site.file()
    site.worker("solo")
    with opened() as (connection, execute):
        with site.app.transaction(connection):
            first = site.effect.delay(journal, "first")
            keyed = site.keyed.delay("k", journal)
            assert site.keyed.delay("k", journal).id == keyed.id
        execute("INSERT INTO orders VALUES (1)")
        assert site.store.size("celery") == 0
        with pytest.raises(TransactionError, match="after the commit"):
            first.get(timeout=5)
    site.wait_ended([first.id, keyed.id])
    assert sorted(lines(journal)) == ["first", "k 0"]


def test_it_is_not_sent_without(site: Site, opened: Callable[[], Any]) -> None:
    with suppress(RolledBack), opened() as (connection, execute):
        execute("INSERT INTO orders VALUES (1)")
        with site.app.transaction(connection):
            result = site.keyed.delay("k", site.file())
            chain(site.add.s(1, 1), site.add.s(1)).delay()
        raise RolledBack
    assert site.store.size("celery") == 0
    with pytest.raises(PublishRolledBack):
        result.get(timeout=30)
    assert result.state == "FAILURE"
    assert site.keyed.delay("k", site.file()).id != result.id
    assert site.store.size("celery") == 1


def test_a_chord_is_sent_with_the_commit_or_leaves_nothing(site: Site, path: str) -> None:
    """Its size, and the groups of its header, are in the transaction too: beside it they would wait for its end."""
    header = [site.add.s(1, 1), chain(site.add.s(1, 0), group(site.add.s(1), site.add.s(2)))]
    with suppress(RolledBack), _explicit(path) as (connection, _), site.app.transaction(connection):
        never = chord(header, site.collect.s()).delay()
        raise RolledBack
    assert not site.store.knows_chord(never.parent.id)
    assert site.store.get_group(never.parent.id) is None
    with _explicit(path) as (connection, _), site.app.transaction(connection):
        sent = chord(header, site.collect.s()).delay()
        assert not site.store.knows_chord(sent.parent.id)
    with site.working():
        assert sent.get(timeout=60) == [2, [2, 3]]


def test_a_forgotten_result_was_sent(site: Site, path: str) -> None:
    with _implicit(path) as (connection, _), site.app.transaction(connection):
        result = site.add.delay(1, 1)
    site.worker("solo")
    assert result.get(timeout=30) == 2
    result.forget()
    assert site.app.AsyncResult(result.id).state == "PENDING"


def _publish(site: Site, connection: object) -> None:
    with site.app.transaction(connection):
        site.add.delay(1, 1)


def test_a_connection_that_commits_by_itself_is_refused(site: Site, path: str) -> None:
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as raw,
        pytest.raises(TransactionError, match=r"by itself.*BEGIN IMMEDIATE"),
    ):
        _publish(site, raw)


def test_who_has_read_before_cannot_write_and_is_told_why(site: Site, path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM orders").fetchall()
        site.add.delay(1, 1)
        with pytest.raises(TransactionError, match=r"cannot write.*BEGIN IMMEDIATE"):
            _publish(site, raw)
        raw.execute("ROLLBACK")
    assert site.store.size("celery") == 1


def test_a_file_that_is_attached_is_refused(site: Site, path: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.db", isolation_level=None)) as raw:
        raw.execute("ATTACH ? AS broker", (path,))
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransactionError, match="attached to the connection as 'broker'"):
            _publish(site, raw)
        raw.execute("ROLLBACK")


DJANGO = """
import sys
import django
from django.conf import settings

path = sys.argv[1]
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}})
django.setup()
from django.db import transaction
from celeriac import Celery

app = Celery("shop", broker=f"sqlite:///{path}")

@app.task(name="add")
def add(x, y): ...

for well in [True, False, True]:
    try:
        with transaction.atomic(), app.transaction("default"):
            add.delay(1, 1)
            if not well:
                raise ValueError
    except ValueError:
        pass
print(app.store.size("celery"))
"""


def test_the_alias_of_a_django_database(path: str) -> None:
    done = subprocess.run([sys.executable, "-c", DJANGO, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
