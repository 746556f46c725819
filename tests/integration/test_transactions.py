"""What is published in somebody's transaction is sent if and only if that commits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import psycopg2.extras
import pytest
import sqlalchemy
from celery import chain, chord, group
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from celeriac import BrokerUnavailable, Celery
from celeriac.errors import IdempotencyConflict, PublishRolledBack, TransactionError
from tests.integration.keeping import Keep
from tests.integration.sites import PostgresSite, Site, lines

#: A way to open a transaction: gives what is passed to ``app.transaction``, and something that executes SQL on it.
Open = Callable[[str], AbstractContextManager[tuple[Any, Callable[[str], Any]]]]


class RolledBack(Exception):
    """Ends a transaction."""


@contextmanager
def _psycopg3(url: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    with psycopg.connect(url) as raw:
        yield raw, lambda text: raw.execute(text.encode())


@contextmanager
def _psycopg3_autocommit(url: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    with psycopg.connect(url, autocommit=True) as raw, raw.transaction():
        yield raw, lambda text: raw.execute(text.encode())


@contextmanager
def _psycopg2(url: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    with closing(psycopg2.connect(url)) as raw, raw:
        yield raw, raw.cursor().execute


@contextmanager
def _sqlalchemy(url: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with Session(engine) as session, session.begin():
            yield session, lambda text: session.execute(sqlalchemy.text(text))
    finally:
        engine.dispose()


@contextmanager
def _sqlalchemy_core(url: str) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    try:
        with engine.begin() as connection:
            yield connection, lambda text: connection.execute(sqlalchemy.text(text))
    finally:
        engine.dispose()


WAYS: dict[str, Open] = {
    "psycopg": _psycopg3,
    "psycopg, autocommit": _psycopg3_autocommit,
    "psycopg2": _psycopg2,
    "sqlalchemy session": _sqlalchemy,
    "sqlalchemy connection": _sqlalchemy_core,
}


@pytest.fixture
def site(tmp_path: Path, postgres_url: str, keep: Keep) -> Site:
    return keep(PostgresSite(tmp_path, postgres_url))


@pytest.fixture(params=WAYS)
def opened(request: pytest.FixtureRequest, postgres_url: str) -> Callable[[], Any]:
    way = WAYS[request.param]
    return lambda: way(postgres_url)


@pytest.fixture
def table(postgres_url: str) -> Iterator[str]:
    """A table of the application's."""
    name = f"orders_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"CREATE TABLE {name} (id int)".encode())
        yield name
        raw.execute(f"DROP TABLE {name}".encode())


def test_it_is_sent_with_the_commit(site: Site, opened: Callable[[], Any], table: str) -> None:
    journal = site.file()
    worker = site.worker("threads", concurrency=2)
    assert worker.running
    with opened() as (connection, execute):
        execute(f"INSERT INTO {table} VALUES (1)")
        with site.app.transaction(connection):
            first = site.effect.delay(journal, "first")
            keyed = site.keyed.delay("k", journal)
            again = site.keyed.delay("k", journal)
            later = site.effect.apply_async((journal, "later"), countdown=0.2)
        assert again.id == keyed.id
        # The application's own statements find its own tables, as before.
        execute(f"INSERT INTO {table} VALUES (2)")
        assert site.store.size("celery") == 0
        assert first.state == "PENDING"
    records = site.wait_ended([first.id, keyed.id, later.id])
    assert {record.state for record in records.values()} == {"SUCCESS"}
    assert sorted(lines(journal)) == ["first", "k 0", "later"]


def test_it_is_not_sent_without(site: Site, opened: Callable[[], Any], table: str) -> None:
    with suppress(RolledBack), opened() as (connection, execute):
        execute(f"INSERT INTO {table} VALUES (1)")
        with site.app.transaction(connection):
            site.effect.delay(site.file(), "never")
            site.keyed.delay("k", site.file())
            chain(site.add.s(1, 1), site.add.s(1)).delay()
            group(site.add.s(number, 1) for number in range(3)).delay()
        raise RolledBack
    assert site.store.size("celery") == 0
    # Its key went with it.
    assert site.keyed.delay("k", site.file()).id
    assert site.store.size("celery") == 1


def test_a_chord_is_sent_with_the_commit_or_leaves_nothing(site: Site, postgres_url: str) -> None:
    header = [site.add.s(1, 1), chain(site.add.s(1, 0), group(site.add.s(1), site.add.s(2)))]
    with suppress(RolledBack), _psycopg3(postgres_url) as (connection, _), site.app.transaction(connection):
        never = chord(header, site.collect.s()).delay()
        raise RolledBack
    assert not site.store.knows_chord(never.parent.id)
    assert site.store.get_group(never.parent.id) is None
    with _psycopg3(postgres_url) as (connection, execute):
        with site.app.transaction(connection):
            sent = chord(header, site.collect.s()).delay()
        assert not site.store.knows_chord(sent.parent.id)
        execute("SELECT 1")
    assert site.store.knows_chord(sent.parent.id)
    assert site.store.get_group(sent.parent.id) is not None


def test_what_is_published_beside_the_block_goes_at_once(site: Site, postgres_url: str) -> None:
    with suppress(RolledBack), psycopg.connect(postgres_url) as connection:
        with site.app.transaction(connection):
            site.add.delay(1, 1)
        site.add.delay(1, 2)
        assert site.store.size("celery") == 1
        raise RolledBack
    assert site.store.size("celery") == 1


def test_a_key_that_is_held_in_an_open_transaction_is_waited_for(site: Site, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection, site.app.transaction(connection):
        first = site.keyed.delay("k", "journal")
        assert site.keyed.delay("k", "journal").id == first.id
        with pytest.raises(IdempotencyConflict):
            site.keyed.delay("k", "another journal")
    assert site.keyed.delay("k", "journal").id == first.id
    assert site.store.size("celery") == 1


def test_whoever_waits_too_long_for_a_key_is_told(site: Site, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with site.app.transaction(connection):
            first = site.keyed.delay("k", "journal")
        with pytest.raises(BrokerUnavailable, match="lock timeout"):
            site.keyed.delay("k", "journal")
        assert site.store.size("celery") == 0
    assert site.keyed.delay("k", "journal").id == first.id


def test_a_result_is_not_waited_for_inside(site: Site, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection, site.app.transaction(connection):
        result = site.add.delay(1, 1)
        with pytest.raises(TransactionError, match="after the commit"):
            result.get(timeout=5)
        with pytest.raises(TransactionError, match="after the commit"):
            group(site.add.s(1, 1), site.add.s(2, 2)).delay().get(timeout=5)


def test_a_result_is_not_waited_for_before_the_commit(site: Site, opened: Callable[[], Any]) -> None:
    with opened() as (connection, _):
        with site.app.transaction(connection):
            result = site.add.delay(1, 1)
        # This thread would wait for itself.
        with pytest.raises(TransactionError, match="after the commit"):
            result.get(timeout=5)
        assert result.state == "PENDING"
    site.worker("solo")
    assert result.get(timeout=30) == 2


def test_a_result_says_that_its_publish_was_rolled_back(site: Site, opened: Callable[[], Any]) -> None:
    with suppress(RolledBack), opened() as (connection, _):
        with site.app.transaction(connection):
            result = site.add.delay(1, 1)
            several = group(site.add.s(1, 1), site.add.s(2, 2)).delay()
        raise RolledBack
    with pytest.raises(PublishRolledBack, match=f"{result.id} was never sent"):
        result.get(timeout=30)
    assert result.failed()
    assert site.app.AsyncResult(result.id).state == "FAILURE"
    with pytest.raises(PublishRolledBack):
        several.get(timeout=30)


def test_what_a_savepoint_takes_back_was_never_sent(site: Site, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with site.app.transaction(connection):
            kept = site.add.delay(1, 1)
        with suppress(RolledBack), connection.transaction(), site.app.transaction(connection):
            taken_back = site.add.delay(2, 2)
            raise RolledBack
        assert kept.state == "PENDING"
    with pytest.raises(PublishRolledBack):
        taken_back.get(timeout=30)
    assert kept.state == "PENDING"
    assert site.store.size("celery") == 1


def test_rows_are_read_whatever_the_connection_makes_of_them(site: Site, postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url, row_factory=psycopg.rows.dict_row) as connection,
        site.app.transaction(connection),
    ):
        site.add.delay(1, 1)
    with (
        closing(psycopg2.connect(postgres_url, cursor_factory=psycopg2.extras.RealDictCursor)) as other,
        other,
        site.app.transaction(other),
    ):
        site.add.delay(1, 1)
    assert site.store.size("celery") == 2


def test_an_asynchronous_session_inside_run_sync(site: Site, postgres_url: str) -> None:
    async def publish() -> None:
        engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
        async with AsyncSession(engine) as session:
            with pytest.raises(TransactionError, match="run_sync"):
                _enter(site.app, session)
            async with session.begin():
                await session.run_sync(lambda inner: _send(site, inner))
                assert site.store.size("celery") == 0
            with suppress(RolledBack):
                async with session.begin():
                    await session.run_sync(lambda inner: _send(site, inner))
                    raise RolledBack
        await engine.dispose()

    asyncio.run(publish())
    assert site.store.size("celery") == 1


def _send(site: Site, session: object) -> None:
    with site.app.transaction(session):
        site.add.delay(1, 1)


# -- what cannot be


def _enter(app: Celery, connection: object) -> None:
    with app.transaction(connection):
        pass


def test_a_connection_that_commits_by_itself_is_refused(site: Site, postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url, autocommit=True) as connection,
        pytest.raises(TransactionError, match="by itself"),
    ):
        _enter(site.app, connection)


def test_a_connection_elsewhere_is_refused(site: Site, postgres_url: str) -> None:
    name = f"other_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            elsewhere = psycopg.conninfo.make_conninfo(postgres_url, dbname=name)
            with (
                psycopg.connect(elsewhere) as connection,
                pytest.raises(TransactionError, match=r"another database.*no table celeriac_outbox.*outbox sql"),
            ):
                _enter(site.app, connection)
        finally:
            admin.execute(f"DROP DATABASE {name}".encode())


def test_a_url_is_no_connection(site: Site) -> None:
    url = "postgresql://shop:secret@db/shop"
    with pytest.raises(TransactionError, match="pass the session or the connection") as refused:
        _enter(site.app, url)
    assert "secret" not in str(refused.value)


def test_what_is_no_connection_is_refused(site: Site) -> None:
    with pytest.raises(TransactionError, match="int is no connection"):
        _enter(site.app, 5)


def test_a_file_of_its_own_and_a_foreign_broker_have_no_outbox_there(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        embedded = Site(tmp_path)
        with pytest.raises(TransactionError, match="no table celeriac_outbox"):
            _enter(embedded.app, connection)
        embedded.close()
        with pytest.raises(TransactionError, match="a redis broker is in no database, and there is no table"):
            _enter(Celery("shop", broker="redis://localhost", set_as_current=False), connection)


DJANGO = """
import sys
from urllib.parse import urlsplit
import django
from django.conf import settings

server, broker = sys.argv[1:]
parts = urlsplit(server)
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
    "HOST": parts.hostname, "PORT": parts.port,
}})
django.setup()
from django.db import transaction
from celeriac import BrokerUnavailable, Celery
from celeriac.errors import TransactionError

app = Celery("shop", broker=broker)

@app.task(name="add")
def add(x, y): ...

try:
    with app.transaction("default"):
        pass
except TransactionError as error:
    assert "atomic()" in str(error)
else:
    raise AssertionError("a transaction of nobody's was accepted")
for number, well in enumerate([True, False, True]):
    try:
        with transaction.atomic(), transaction.atomic(), app.transaction("default"):
            add.delay(number, 1)
            assert app.store.size("celery") == (number > 0)
            if not well:
                raise ValueError
    except ValueError:
        pass
print(app.store.size("celery"))
"""


def test_the_alias_of_a_django_database(site: Site, postgres_url: str) -> None:
    command = [sys.executable, "-c", DJANGO, postgres_url, site.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
