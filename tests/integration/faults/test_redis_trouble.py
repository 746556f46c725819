"""What happens to a Redis under its workers: it is killed, forgets its scripts, runs out of memory, drops connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import states

from celeriac import BrokerUnavailable
from celeriac.errors import StoreUnavailable
from celeriac.settings import redis_store_url
from celeriac.store.redis import RedisStore
from celeriac.testing.conformance.harness import claim, claim_one, publish, settle, state_of, task
from tests.conformance.redis import store_url
from tests.integration.keeping import Keep
from tests.integration.sites import RedisSite, Site, counts, lines, open_gate, wait_line
from tests.support import patient, wait_for
from tests.support.plugin import PROGRAMS
from tests.support.proxy import Proxy
from tests.support.redis import DURABLE, RedisServer
from tests.support.worker import Pool


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Iterator[RedisServer]:
    """A server of the test's own, where there is one at all."""
    with RedisServer(tmp_path / "redis", *DURABLE) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, server: RedisServer, keep: Keep) -> Site:
    """A site on it."""
    return keep(RedisSite(tmp_path, server.url))


@pytest.fixture
def way(redis_url: str) -> Iterator[Proxy]:
    parts = urlsplit(redis_url)
    with Proxy(parts.hostname or "127.0.0.1", parts.port or 6379) as proxy:
        yield proxy


@pytest.fixture
def far_site(tmp_path: Path, redis_url: str, way: Proxy, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site that reaches the shared server through the proxy."""
    site = RedisSite(tmp_path, redis_url.replace(f":{urlsplit(redis_url).port}", f":{way.port}"))
    request.node.stash[PROGRAMS] = site.workers
    yield site
    way.heal()
    site.close()


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    """The server itself."""
    with closing(redis.Redis.from_url(server.url)) as raw:
        yield raw


# -- the server


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_server_that_crashes_loses_nothing_it_has_answered(site: Site, server: RedisServer, pool: Pool) -> None:
    """Killed in the middle of the work and started again; the worker goes on by itself."""
    journal, gate = site.file(), site.file("gate")
    worker = site.worker(pool, concurrency=2)
    running = site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    accepted = [site.slowly.delay(journal, str(number), 0.02).id for number in range(40)]
    wait_for(lambda: len(lines(journal)) > 5)
    server.kill()
    open_gate(gate)
    server.start()
    later = site.add.delay(1, 1).id
    records = site.wait_ended([running.id, *accepted, later], 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal)) == {"begin a", "end a", *map(str, range(40))}
    assert worker.running


def test_a_server_forgets_its_scripts_and_nobody_notices(site: Site, raw: Any) -> None:
    journal = site.file()
    site.worker("threads", concurrency=2)
    sent = []
    for number in range(20):
        raw.script_flush()
        sent.append(site.effect.delay(journal, str(number)).id)
    records = site.wait_ended(sent)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {str(number): 1 for number in range(20)}


def test_connections_that_the_server_ends_are_opened_again(site: Site, raw: Any) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=2)
    sent = []
    for number in range(10):
        sent.append(site.slowly.delay(journal, str(number), 0.05).id)
        raw.client_kill_filter(_type="normal", skipme=True)
    records = site.wait_ended(sent, 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal)) == {str(number) for number in range(10)}
    assert worker.running


def test_a_full_memory_refuses_publishes_and_lets_work_end(site: Site, raw: Any) -> None:
    sent = [site.add.delay(number, 1).id for number in range(10)]
    raw.config_set("maxmemory", int(raw.info("memory")["used_memory"]) - 1)
    with pytest.raises(BrokerUnavailable, match="its memory is full: raise maxmemory"):
        site.add.delay(1, 1)
    site.worker("solo")
    wait_for(lambda: len(site.ended(sent)) == len(sent), 60, lambda: str(site.queues()))
    raw.config_set("maxmemory", 0)
    assert site.add.delay(1, 1).get(timeout=30) == 2


# -- the way to it


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
@pytest.mark.parametrize("trouble", ["swallow", "refuse"])
def test_a_publish_says_in_time_that_nothing_can_be_sent(far_site: Site, way: Proxy, trouble: str, keyed: bool) -> None:
    site = far_site
    assert site.add.delay(1, 1).id
    getattr(way, trouble)()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="not available for now"):
        site.keyed.delay("k", site.file()) if keyed else site.add.delay(1, 2)
    assert time.monotonic() - began < patient(10)
    way.heal()
    assert site.add.delay(1, 3).id
    assert site.store.size("celery") == 2


def test_a_connection_that_died_idle_is_no_error(far_site: Site, way: Proxy) -> None:
    """As after a restart of the server: what is sent next goes out on a new one."""
    site = far_site
    assert site.add.delay(1, 1).id
    way.cut()
    assert site.keyed.delay("l", site.file()).id
    way.cut()
    assert site.add.delay(1, 2).id
    assert site.store.size("celery") == 3


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_outlives_a_server_that_is_silent(far_site: Site, way: Proxy, pool: Pool) -> None:
    """What ended meanwhile is recorded when the server answers again: within its lease nobody else has it."""
    site = far_site
    journal, gate = site.file(), site.file("gate")
    site.settings["celeriac_lease_seconds"] = 60
    worker = site.worker(pool, concurrency=2)
    assert site.add.delay(1, 1).get(timeout=30) == 2
    sent = [site.hold.delay(journal, gate, str(number)).id for number in range(4)]
    wait_for(lambda: len(lines(journal)) >= 2)
    way.refuse()
    open_gate(gate)
    wait_for(lambda: "the store cannot be written, trying on" in worker.log(), 30)
    way.heal()
    records = site.wait_ended(sent, 90)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {f"{what} {number}": 1 for what in ("begin", "end") for number in range(4)}
    assert worker.running


# -- an answer that is lost


class Deaf(Proxy):
    """Passes every question on, and no answer back while ``deaf``."""

    deaf = False

    def _pass_on(self, end: Any) -> None:
        if self.deaf and end.getpeername()[1] == self._target[1]:
            end.recv(65536)
            return
        super()._pass_on(end)


@pytest.fixture
def deaf(server: RedisServer) -> Iterator[Deaf]:
    with Deaf("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def near(server: RedisServer) -> Iterator[RedisStore]:
    with closing(RedisStore(redis_store_url(store_url(server.url, "lost")))) as store:
        # The server knows the scripts by now: otherwise it is their absence that nobody hears of.
        publish(store, "first")
        settle(store, claim_one(store))
        yield store


@pytest.fixture
def far(server: RedisServer, deaf: Deaf) -> Iterator[RedisStore]:
    """The same store behind the proxy, which waits a second for an answer."""
    url = store_url(f"redis://127.0.0.1:{deaf.port}/0", "lost")
    with closing(RedisStore(redis_store_url(url), timeout=1.0)) as store:
        yield store


def test_a_publish_whose_answer_was_lost_is_one_task_when_it_is_repeated(
    near: RedisStore, far: RedisStore, deaf: Deaf
) -> None:
    far.sizes()
    deaf.deaf = True
    with pytest.raises(StoreUnavailable, match="has not answered"):
        publish(far, "a")
    wait_for(lambda: near.size("celery") == 1)
    deaf.deaf = False
    [answer] = publish(far, "a")
    assert answer.live
    assert [found.task_id for found in claim(near)] == ["a"]


def test_a_settlement_whose_answer_was_lost_has_no_second_effect(
    near: RedisStore, far: RedisStore, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(near, "a")
    held = claim_one(far)
    follow_up = task("next", "next", follow_up=True)
    call = far.database.call
    monkeypatch.setattr(far.database, "call", lambda name, given: call(name, given, patience=1.0))  # not half a minute
    deaf.deaf = True
    with pytest.raises(StoreUnavailable, match="has not answered"):
        settle(far, held, follow_ups=[follow_up])
    deaf.deaf = False
    wait_for(lambda: state_of(near, "a") == "SUCCESS")
    assert not settle(far, held, follow_ups=[follow_up]).held
    assert [found.task_id for found in claim(near, "next")] == ["next"]
    assert claim(near, "celery", "next") == []
