"""A ledger beside another broker: the broker, the way to it, or the ledger is away, has lost its data, or is somebody else's."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import celery
import pytest
import redis

from celeriac import BrokerUnavailable, Celery
from celeriac.publish.confirmed import PublishUnknown
from tests.integration.sites import BesideSite, counts, lines, open_gate, wait_line
from tests.support import patient, wait_for
from tests.support.plugin import PROGRAMS, server
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.worker import Pool

DEFAULT_PORTS = {"redis": 6379, "amqp": 5672, "postgresql": 5432}


def _way_to(url: str) -> tuple[Proxy, str]:
    """A proxy, and the URL that leads through it."""
    parts = urlsplit(url)
    way = Proxy(parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORTS[parts.scheme])
    return way, parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{way.port}")).geturl()


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """The broker's kind."""
    return str(getattr(request, "param", "redis"))


@pytest.fixture
def way(broker: str) -> Iterator[tuple[Proxy, str]]:
    found = _way_to(server(f"CELERIAC_{broker.upper()}_URL"))
    with found[0]:
        yield found


@pytest.fixture
def site(tmp_path: Path, way: tuple[Proxy, str], request: pytest.FixtureRequest) -> Iterator[BesideSite]:
    """The broker is reached through a proxy."""
    site = BesideSite(tmp_path, way[1], "", broker_connection_timeout=2.0)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    way[0].heal()
    site.close()


# -- connections


@pytest.mark.parametrize(
    ("broker", "pool"), [("redis", "prefork"), ("redis", "solo"), ("amqp", "threads")], indirect=["broker"]
)
def test_a_lost_connection_repeats_nothing(site: BesideSite, way: tuple[Proxy, str], pool: Pool) -> None:
    """What was delivered comes again, and is found held, or over."""
    journal = site.file()
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    ids = [site.take.delay(journal, str(number), 0.05).id for number in range(40)]
    for cut in range(3):
        wait_for(lambda: len(lines(journal)) > 10 * cut + 5, 60)  # noqa: B023  # asked at once
        way[0].cut()
    site.wait_ended(ids, 90)
    assert set(counts(journal).values()) == {1}
    assert len(counts(journal)) == 80


@pytest.mark.parametrize("broker", ["redis", "amqp"], indirect=True)
def test_a_running_task_outlives_the_broker(site: BesideSite, way: tuple[Proxy, str]) -> None:
    """It is leased from the ledger, settles there, and what follows it waits there."""
    journal, gate, follower = site.file(), site.file("gate"), site.file()
    site.worker("prefork", concurrency=1)
    result = site.hold.apply_async((journal, gate, "a"), link=site.effect_of.s(follower))
    wait_line(journal, "begin a")
    way[0].refuse()
    open_gate(gate)
    wait_for(lambda: site.ended([result.id]), 30)
    way[0].heal()
    wait_line(follower, "a", 60)
    assert counts(journal) == {"begin a": 1, "end a": 1}


@pytest.mark.parametrize("broker", ["redis", "amqp"], indirect=True)
def test_a_key_is_accepted_while_the_broker_is_away(site: BesideSite, way: tuple[Proxy, str]) -> None:
    journal = site.file()
    way[0].refuse()
    result = site.keyed.delay("k", journal)
    assert site.keyed.delay("k", journal).id == result.id
    way[0].heal()
    site.worker("solo")
    assert result.get(timeout=60) == "k 0"


# -- publishing in time


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("trouble", ["swallow", "refuse"])
def test_a_publish_to_a_silent_redis_says_in_time_that_it_is_unknown(
    way: tuple[Proxy, str], trouble: str, used: bool
) -> None:
    app = Celery("silent", broker=way[1], set_as_current=False, task_default_queue=f"silent-{uuid.uuid4().hex}")
    with closing(app):
        if used:
            app.send_task("add", (1, 1))
            with app.connection_for_write() as connection:
                connection.default_channel.queue_delete(app.conf.task_default_queue)
        getattr(way[0], trouble)()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=r"not known.*idempotency_key") as caught:
            app.send_task("add", (1, 1))
        assert time.monotonic() - began < patient(10)
        assert isinstance(caught.value, PublishUnknown)


# -- data


class RedisServer:
    """A server of the test's own, which keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("there is no redis-server program")
        self._port, self._program, self._folder = free_port(), program, folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
        wait_for(self._answers, 30)

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError), redis.Redis(port=self._port) as client:
            return bool(client.ping())
        return False

    def length(self, key: str) -> int:
        with redis.Redis(port=self._port) as client:
            return int(client.llen(key))

    def fields(self, key: str) -> int:
        with redis.Redis(port=self._port) as client:
            return int(client.hlen(key))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.kill()


def test_a_redis_that_lost_its_data_is_given_it_again(
    tmp_path: Path, own_redis: RedisServer, request: pytest.FixtureRequest
) -> None:
    site = BesideSite(tmp_path, own_redis.url, "", worker_prefetch_multiplier=1)
    request.node.stash[PROGRAMS] = site.workers
    with closing(site):
        journal, gate = site.file(), site.file("gate")
        site.worker("prefork", concurrency=1)
        ids = [site.hold.delay(journal, gate, str(number)).id for number in range(8)]
        ids += [site.keyed.delay(str(number), journal).id for number in range(4)]
        wait_for(lambda: own_redis.length(f"{site.name}:{site.name}") >= 10, 30)
        own_redis.kill()
        own_redis.start()
        open_gate(gate)
        site.wait_ended(ids, 90)
        assert set(counts(journal).values()) == {1}
        assert len(counts(journal)) == 8 * 2 + 4


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_visibility_time_out_repeats_nothing(
    tmp_path: Path, own_redis: RedisServer, request: pytest.FixtureRequest, pool: Pool
) -> None:
    """A copy comes while the task runs; and one that runs long owes the broker no acknowledgement."""
    brief = {"visibility_timeout": 2, "socket_timeout": 4.0}
    site = BesideSite(tmp_path, own_redis.url, "", broker_transport_options=brief)
    request.node.stash[PROGRAMS] = site.workers
    with closing(site):
        journal, gate = site.file(), site.file("gate")
        site.worker(pool, concurrency=2)
        result = site.hold.delay(journal, gate, "a")
        wait_line(journal, "begin a")
        wait_for(lambda: own_redis.fields("unacked") == 0, 30)
        began = site.store.lease_now()
        wait_for(lambda: site.store.lease_now() > began + 3, 30)
        open_gate(gate)
        assert result.get(timeout=30) == "a"
        assert counts(journal) == {"begin a": 1, "end a": 1}


# -- ledgers


@pytest.mark.parametrize("broker", ["redis", "amqp"], indirect=True)
def test_a_worker_refuses_what_belongs_to_another_ledger(site: BesideSite, tmp_path: Path) -> None:
    journal = site.file()
    site.settings["celeriac_outbox"] = site.app.conf.celeriac_outbox = False
    results = [site.effect.delay(journal, str(number)) for number in range(3)]
    right = site.settings["celeriac_ledger"]
    site.settings["celeriac_ledger"] = f"sqlite:///{tmp_path}/another.db"
    stranger = site.worker("solo", wait=False)
    assert stranger.wait() == 78
    assert f"{tmp_path}/ledger.db" in stranger.log()
    assert f"{tmp_path}/another.db" in stranger.log()
    assert "same ledger=" in stranger.log()
    assert "Traceback" not in stranger.log()
    assert lines(journal) == []
    site.settings["celeriac_ledger"] = right
    site.worker("solo")
    assert [result.get(timeout=30) for result in results] == ["0", "1", "2"]
    assert len(lines(journal)) == 3


@pytest.mark.parametrize("trouble", ["refuse", "swallow"])
def test_a_ledger_that_is_away_keeps_nothing_from_running_later(
    tmp_path: Path, request: pytest.FixtureRequest, trouble: str
) -> None:
    way, ledger = _way_to(server("CELERIAC_POSTGRES_URL"))
    with way:
        site = BesideSite(tmp_path, server("CELERIAC_REDIS_URL"), ledger)
        request.node.stash[PROGRAMS] = site.workers
        try:
            journal = site.file()
            worker = site.worker("solo")
            assert site.add.delay(1, 1).get(timeout=30) == 2
            getattr(way, trouble)()
            stock = celery.Celery("stock", broker=site.broker, set_as_current=False)
            stock.conf.update(
                task_default_queue=site.name, broker_transport_options=site.app.conf.broker_transport_options
            )
            task_id = stock.send_task("effect", (journal, "a")).id
            wait_for(lambda: "no task can be taken from the broker now" in worker.log(), 60, worker.tail)
            way.heal()
            site.wait_ended([task_id], 60)
            assert lines(journal) == ["a"]
        finally:
            way.heal()
            site.close()
