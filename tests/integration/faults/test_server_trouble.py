"""The way to the server is cut, closed or silent: publishing says so in time, workers go on by themselves."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import states

from celeriac import BrokerUnavailable
from tests.integration.sites import PostgresSite, Site, counts, lines, open_gate, wait_line
from tests.support import patient, wait_for
from tests.support.plugin import PROGRAMS
from tests.support.proxy import Proxy
from tests.support.worker import Pool

POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]


@pytest.fixture
def way(postgres_url: str) -> Iterator[Proxy]:
    parts = urlsplit(postgres_url)
    with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        yield proxy


@pytest.fixture
def site(tmp_path: Path, postgres_url: str, way: Proxy, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A schema that is reached through the proxy."""
    parts = urlsplit(postgres_url)
    through = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{way.port}")).geturl()
    site = PostgresSite(tmp_path, through)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    way.heal()
    site.close()


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
@pytest.mark.parametrize("trouble", ["swallow", "refuse"])
def test_a_publish_says_in_time_that_nothing_can_be_sent(site: Site, way: Proxy, trouble: str, keyed: bool) -> None:
    assert site.add.delay(1, 1).id
    getattr(way, trouble)()
    # The server is asked for its time once more.
    site.store.database.clock._asked_at = float("-inf")  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=re.escape(site.store.location)):
        site.keyed.delay("k", site.file()) if keyed else site.add.delay(1, 2)
    assert time.monotonic() - began < patient(10)
    way.heal()
    assert site.add.delay(1, 3).id
    assert site.store.size("celery") == 2


def test_a_connection_that_died_idle_is_no_error(site: Site, way: Proxy) -> None:
    """As after a restart of the server: what is sent next goes out on a new one."""
    assert site.add.delay(1, 1).id
    assert site.keyed.delay("k", site.file()).id
    way.cut()
    assert site.keyed.delay("l", site.file()).id
    way.cut()
    assert site.add.delay(1, 2).id
    assert site.store.size("celery") == 4


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_goes_on_when_its_connections_are_cut(site: Site, way: Proxy, pool: Pool) -> None:
    journal, gate = site.file(), site.file("gate")
    worker = site.worker(pool, concurrency=1 if pool == "solo" else 2)
    running = site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    way.cut()
    open_gate(gate)
    behind = [site.effect.delay(journal, str(number)).id for number in range(10)]
    records = site.wait_ended([running.id, *behind])
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {"begin a": 1, "end a": 1, **{str(number): 1 for number in range(10)}}
    assert worker.running


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_outlives_a_server_that_is_away(site: Site, way: Proxy, pool: Pool) -> None:
    """What ended meanwhile is recorded when the server is back: within its lease nobody else has it."""
    journal, gate = site.file(), site.file("gate")
    site.settings["celeriac_lease_seconds"] = 30
    worker = site.worker(pool, concurrency=1 if pool == "solo" else 2)
    running = site.hold.delay(journal, gate, "a").id
    behind = [site.effect.delay(journal, str(number)).id for number in range(4)]
    wait_for(lambda: "begin a" in lines(journal))
    way.refuse()
    open_gate(gate)
    wait_for(lambda: "the store cannot be written, trying on" in worker.log(), 30)
    way.heal()
    records = site.wait_ended([running, *behind], 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {"begin a": 1, "end a": 1, **{str(number): 1 for number in range(4)}}
    assert worker.running
