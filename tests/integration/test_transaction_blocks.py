"""Where a block of ``app.transaction()`` begins and ends, and which connection it is about."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from celeriac.errors import TransactionError
from tests.integration.sites import PostgresSite, Site


class RolledBack(Exception):
    """Ends a transaction."""


@pytest.fixture
def site(tmp_path: Path, postgres_url: str) -> Iterator[Site]:
    site = PostgresSite(tmp_path, postgres_url)
    yield site
    site.close()


@contextmanager
def _session(url: str) -> Iterator[Session]:
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), pool_size=1, max_overflow=0
    )
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_a_coroutine_that_outlives_the_block_publishes_at_once(site: Site, postgres_url: str) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def later() -> None:
            await ended.wait()
            site.add.delay(1, 1)

        with psycopg.connect(postgres_url) as connection:
            with site.app.transaction(connection):
                began = asyncio.create_task(later())
            connection.commit()
            ended.set()
            await began
            assert site.store.size("celery") == 1
            connection.rollback()

    asyncio.run(main())
    assert site.store.size("celery") == 1


def test_a_thread_with_a_copy_of_the_context_does_as_well(site: Site, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with site.app.transaction(connection):
            context = copy_context()  # as asyncio.to_thread() makes one
        thread = threading.Thread(target=context.run, args=(site.add.delay, 1, 1))
        thread.start()
        thread.join()
        connection.rollback()
    assert site.store.size("celery") == 1


def test_a_block_inside_that_of_another_app_ends_neither(site: Site, tmp_path: Path, postgres_url: str) -> None:
    other = Site(tmp_path)
    with suppress(RolledBack), psycopg.connect(postgres_url) as connection:
        with site.app.transaction(connection):
            with closing(sqlite3.connect(other.store.database.path)) as raw, other.app.transaction(raw):  # type: ignore[attr-defined]
                site.add.delay(1, 1)
                other.add.delay(1, 1)
                raw.rollback()
            site.add.delay(2, 2)
        raise RolledBack
    assert (site.store.size("celery"), other.store.size("celery")) == (0, 0)
    other.close()


def test_a_session_that_commits_inside_goes_on_with_the_connection_it_has_then(site: Site, postgres_url: str) -> None:
    with _session(postgres_url) as session, site.app.transaction(session):
        site.add.delay(1, 1)
        session.commit()
        assert site.store.size("celery") == 1
        site.add.delay(2, 2)
        assert site.store.size("celery") == 1
        session.commit()
        assert site.store.size("celery") == 2
        site.add.delay(3, 3)
        session.rollback()
    assert site.store.size("celery") == 2


def test_a_session_that_is_over_inside_is_refused(site: Site, postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection, site.app.transaction(connection):
        connection.close()
        with pytest.raises(sqlalchemy.exc.ResourceClosedError):
            site.add.delay(1, 1)
    engine.dispose()
    assert site.store.size("celery") == 0


def test_a_pipeline_is_refused(site: Site, postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url) as connection,
        connection.pipeline(),
        pytest.raises(TransactionError, match="pipeline"),
    ):
        _enter(site, connection)


def test_an_effect_in_a_pipeline_is_refused(site: Site, postgres_url: str) -> None:
    """Its count of rows came too late: every run would have been told that it was done before."""
    task: Any = site.add
    with psycopg.connect(postgres_url) as connection, connection.pipeline():
        task.push_request(id="one", args=(1, 1), kwargs={}, called_directly=False)
        try:
            with pytest.raises(TransactionError, match="pipeline"), task.effect_once("step", connection):
                pass
        finally:
            task.pop_request()


def test_an_asynchronous_connection_is_refused(site: Site, postgres_url: str) -> None:
    async def main() -> None:
        connection = await psycopg.AsyncConnection.connect(postgres_url)
        try:
            with pytest.raises(TransactionError, match="asynchronous"):
                _enter(site, connection)
        finally:
            await connection.close()

    asyncio.run(main())


def _enter(site: Site, connection: object) -> None:
    with site.app.transaction(connection):
        pass
