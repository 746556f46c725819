"""PostgreSQL and Redis over TLS, as stores: work gets done, and nobody is trusted whom nobody vouches for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import states

from celeriac import BrokerUnavailable
from celeriac.errors import StoreError, StoreUnavailable
from celeriac.store.registry import open_store
from tests.integration.sites import Site, counts, lines, wait_line
from tests.support import patient
from tests.support.plugin import PROGRAMS
from tests.support.proxy import Proxy
from tests.support.tls import HERE, Authority, TLSPostgres, TLSRedis
from tests.support.worker import Pool

Server = TLSPostgres | TLSRedis


class TLSSite(Site):
    """The store is the whole of a server."""

    def __init__(self, folder: Path, url: str) -> None:
        self._url = url
        super().__init__(folder)

    def _make_url(self) -> str:
        return self._url


@pytest.fixture(params=[TLSPostgres, TLSRedis], ids=["postgresql", "redis"])
def kind(request: pytest.FixtureRequest) -> Any:
    request.getfixturevalue(
        "postgres_url" if request.param is TLSPostgres else "redis_url"
    )  # where there is one at all
    return request.param


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def start(kind: Any, tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Server]]:
    """Starts the test's server."""
    started: list[Server] = []

    def start(**options: Any) -> Server:
        started.append(kind(tmp_path, authority, **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


@pytest.fixture
def way(server: Server) -> Iterator[Proxy]:
    with Proxy(HERE, server.tls_port) as way:
        yield way


@pytest.fixture
def site(
    tmp_path: Path, server: Server, way: Proxy, authority: Authority, request: pytest.FixtureRequest
) -> Iterator[Site]:
    site = TLSSite(tmp_path, server.reached({server.trusting: authority.certificate}, way.port))
    request.node.stash[PROGRAMS] = site.workers
    yield site
    way.heal()
    site.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_work_gets_done(site: Site, pool: Pool) -> None:
    """By processes that forked, or greenlets, each with connections of its own; who waits is told."""
    if pool == "gevent":
        pytest.importorskip("gevent")
    journal = site.file()
    worker = site.worker(pool, concurrency=2)
    sent = [site.effect.delay(journal, str(number)).id for number in range(20)]
    assert site.add.apply_async((1, 2), countdown=0.5).get(timeout=60) == 3
    assert site.app.control.ping(timeout=30, limit=1) == [{worker.nodename: {"ok": "pong"}}]
    records = site.wait_ended(sent)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {str(number): 1 for number in range(20)}
    assert worker.terminate() == 0


def test_connections_that_break_are_made_again(site: Site, way: Proxy) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=2)
    sent = []
    for number in range(10):
        sent.append(site.slowly.delay(journal, str(number), 0.05).id)
        way.cut()
    records = site.wait_ended(sent, 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal)) == {str(number) for number in range(10)}
    # A process that cannot reach the server waits for it.
    assert " died (" not in worker.log()
    assert worker.running


def test_a_server_that_falls_silent_is_given_up_in_time_and_waited_for(site: Site, way: Proxy) -> None:
    """Also one that says nothing when it is to show who it is."""
    journal = site.file()
    worker = site.worker("prefork", concurrency=1)
    site.effect.delay(journal, "before")
    wait_line(journal, "before")
    way.swallow()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            site.effect.delay(journal, "never")
        assert time.monotonic() - began < patient(10)
    way.heal()
    site.effect.delay(journal, "after")
    wait_line(journal, "after", 90)
    assert worker.running
    assert "never" not in lines(journal)


def test_a_server_for_whom_nobody_vouches_is_refused(server: Server, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    tried: list[dict[str, Path]] = [
        {},
        {server.trusting: stranger.certificate},
        {server.trusting: tmp_path / "missing.pem"},
    ]
    for options in tried:
        _refused(server, server.trusting, options)


def test_a_server_under_another_name_is_refused(start: Callable[..., Server], authority: Authority) -> None:
    server = start(name="DNS:elsewhere.example")
    _refused(server, "certificate", {server.trusting: authority.certificate})


def test_a_client_shows_its_certificate_where_the_server_asks_for_one(
    start: Callable[..., Server], authority: Authority
) -> None:
    server = start(clients=True)
    certificate, key = authority.issue("client", "DNS:client.example")
    trusting = {server.trusting: authority.certificate}
    with pytest.raises(StoreError):  # some servers say why, and some hang up
        open_store(server.reached(trusting))
    url = server.reached({**trusting, server.certified: certificate, server.keyed: key})
    store = open_store(url)
    assert store.sizes() == []
    store.close()


def test_a_worker_ends_where_waiting_is_no_use(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    stranger = Authority(tmp_path / "stranger")
    site = TLSSite(tmp_path, server.reached({server.trusting: stranger.certificate}))
    request.node.stash[PROGRAMS] = site.workers
    worker = site.worker("solo", wait=False)
    try:
        assert worker.wait() != 0
        assert server.trusting in worker.tail(3)
    finally:
        worker.close()
        site.app.close()


def _refused(server: Server, remedy: str, options: Mapping[str, object]) -> None:
    """Connecting raises, with what to do; not as what is to be waited for."""
    with pytest.raises(StoreError, match=remedy) as raised:
        open_store(server.reached(options))
    assert not isinstance(raised.value, StoreUnavailable)
