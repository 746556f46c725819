"""What operators do to a PostgreSQL server: too few connections, a failover, a pooler in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg
import pytest
from celery import states

from celeriac import BrokerUnavailable
from celeriac.errors import ServerReadOnly, StoreError, StoreReadOnly
from celeriac.store.postgres import PostgresStore
from celeriac.store.protocols import News
from celeriac.testing.conformance.harness import claim, ids, publish
from tests.integration.keeping import Keep
from tests.integration.sites import PostgresSite, Site, counts, lines
from tests.support import patient, wait_for
from tests.support.own_postgres import USER, Bouncer, Server

CONNECTIONS = 16


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(max_connections=CONNECTIONS, superuser_reserved_connections=1) as started:
        yield started


@pytest.fixture
def site(tmp_path: Path, server: Server, keep: Keep) -> Site:
    return keep(PostgresSite(tmp_path, server.url))


def fill(server: Server, stack: ExitStack) -> None:
    """Take every connection that is left."""
    while True:
        try:
            stack.enter_context(closing(psycopg.connect(server.url)))
        except psycopg.OperationalError:
            return


def take_all(server: Server, stack: ExitStack) -> None:
    """Take every connection, also those that celeriac has."""
    raw = stack.enter_context(closing(psycopg.connect(server.url, autocommit=True)))

    def taken() -> bool:
        left = raw.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'celeriac'"
        ).fetchone()
        fill(server, stack)
        return left == (0,)

    wait_for(taken, 60)


def test_without_a_connection_left_it_says_so_and_goes_on_later(server: Server) -> None:
    store = PostgresStore(server.url)
    publish(store, "before")
    store.close()
    with ExitStack() as stack:
        fill(server, stack)
        with pytest.raises(StoreError, match=r"(too many clients|slots).*keeps up to 5.*raise max_connections"):
            publish(store, "in vain")
        with pytest.raises(StoreError, match="raise max_connections"):
            PostgresStore(server.url, schema="another")
    publish(store, "after")
    assert ids(claim(store)) == ["before", "after"]
    store.close()


def test_a_worker_waits_for_connections(server: Server, site: Site) -> None:
    journal = site.file()
    worker = site.worker("threads", concurrency=2)
    assert site.add.delay(1, 1).get(timeout=30) == 2
    with ExitStack() as stack:
        take_all(server, stack)
        with pytest.raises(BrokerUnavailable, match="raise max_connections"):
            site.effect.delay(journal, "in vain")
        wait_for(lambda: "max_connections" in worker.log(), 60)
    sent = [site.effect.delay(journal, f"{number}").id for number in range(10)]
    assert {record.state for record in site.wait_ended(sent, 60).values()} == {states.SUCCESS}
    assert set(counts(journal).values()) == {1}
    assert worker.running


def test_a_worker_keeps_no_more_connections_than_the_page_says(server: Server, site: Site) -> None:
    site.worker("threads", concurrency=4)
    results = [site.add.delay(number, 1) for number in range(400)]
    assert [result.get(timeout=60) for result in results[-20:]]
    site.store.close()
    assert _connected(server) <= 5 + 2


def test_a_standby_takes_nothing_and_all_goes_on_when_it_is_promoted(server: Server) -> None:
    with Server(standby_of=server, max_connections=CONNECTIONS) as standby:
        both = f"postgresql://{USER}@127.0.0.1:{server.port},127.0.0.1:{standby.port}/postgres"
        store = PostgresStore(both)
        publish(store, "before")
        wait_for(lambda: _copied(standby), 30)
        server.end()
        with pytest.raises(StoreReadOnly, match=r"promoted.*target_session_attrs") as caught:
            publish(store, "in vain")
        assert isinstance(caught.value, ServerReadOnly)
        with closing(psycopg.connect(standby.url, autocommit=True)) as raw:
            raw.execute("SELECT pg_promote()")
        publish(store, "after")
        assert ids(claim(store)) == ["before", "after"]
        store.close()


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
def test_a_connection_that_the_server_ended_with_a_word_is_no_error(server: Server, site: Site, keyed: bool) -> None:
    """As at every restart: it says why before it hangs up."""

    def send(name: str) -> str:
        return str((site.keyed.delay(name, site.file()) if keyed else site.add.delay(1, 1)).id)

    assert send("a")
    with closing(psycopg.connect(server.url, autocommit=True)) as raw:
        raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'celeriac'")
    wait_for(lambda: not _connected(server), 30)
    assert send("b")


def _connected(server: Server) -> int:
    with closing(psycopg.connect(server.url)) as raw:
        row = raw.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'celeriac'").fetchone()
    assert row is not None
    return int(row[0])


def _copied(standby: Server) -> bool:
    with closing(psycopg.connect(standby.url)) as raw, suppress(psycopg.errors.UndefinedTable):
        return raw.execute("SELECT count(*) FROM celeriac.message").fetchone() == (1,)
    return False


def test_a_worker_outlives_a_server_that_is_read_only_for_a_while(server: Server, site: Site) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=2)
    running = site.slowly.delay(journal, "running", 1.0)
    wait_for(lambda: lines(journal), 30)
    _read_only(server, "on")
    with pytest.raises(BrokerUnavailable, match="read-only"):
        site.effect.delay(journal, "in vain")
    wait_for(lambda: "read-only" in worker.log(), 60)
    _read_only(server, "off")
    sent = [site.effect.delay(journal, f"{number}").id for number in range(5)]
    records = site.wait_ended([running.id, *sent], 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal).values()) == {1}
    assert worker.running


def _read_only(server: Server, on: str) -> None:
    with closing(psycopg.connect(server.url, autocommit=True, options="-c default_transaction_read_only=off")) as raw:
        raw.execute(f"ALTER SYSTEM SET default_transaction_read_only = {on}".encode())
        raw.execute("SELECT pg_reload_conf()")

    def told() -> bool:
        with closing(psycopg.connect(server.url)) as raw:
            return raw.execute("SHOW default_transaction_read_only").fetchone() == (on,)

    wait_for(told, 30)


def test_a_pooler_by_the_transaction_is_refused_and_nothing_is_set_on_its_connections(server: Server) -> None:
    with Bouncer(server, "transaction", default_pool_size=4) as pooler:
        with pytest.raises(StoreError, match=r"gives each transaction another connection.*pool_mode = session"):
            PostgresStore(pooler.url)
        with closing(psycopg.connect(pooler.url)) as other:
            assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)
            assert other.execute("SHOW lock_timeout").fetchone() == ("0",)
    with closing(psycopg.connect(server.url)) as raw:
        assert raw.execute("SELECT to_regnamespace('celeriac')").fetchone() == (None,)


def test_a_pooler_by_the_session_is_as_good_as_the_server(server: Server) -> None:
    with Bouncer(server, "session", default_pool_size=CONNECTIONS - 2) as pooler:
        store, other = PostgresStore(pooler.url), PostgresStore(pooler.url)
        mark = store.mark(News.WORK)
        publish(other, "a")
        began = time.monotonic()
        assert store.wait(patient(20), mark, News.WORK) != mark
        assert time.monotonic() - began < patient(5)
        assert ids(claim(store)) == ["a"]
        store.close()
        other.close()
