"""RabbitMQ stops, closes connections, or falls silent, under clients and workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import BrokerUnavailable
from tests.integration.rabbitmq.sites import RabbitMQSite, wait_lines
from tests.integration.sites import open_gate, wait_line
from tests.integration.tasks import lines
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQServer


@pytest.fixture
def proxy(rabbitmq: RabbitMQServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def site(
    tmp_path: Path, rabbitmq: RabbitMQServer, proxy: Proxy, request: pytest.FixtureRequest
) -> Iterator[RabbitMQSite]:
    """Its client and its workers come through the proxy, and ask every second whether anybody is there."""
    site = RabbitMQSite(tmp_path, rabbitmq, port=proxy.port, broker_heartbeat=2)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    proxy.heal()
    site.close()


@pytest.fixture
def own_site(tmp_path: Path, request: pytest.FixtureRequest, rabbitmq: RabbitMQServer) -> Iterator[RabbitMQSite]:
    """On a server of its own, which may be stopped. (The other fixture skips where there is none.)"""
    folder = tmp_path / "server"
    folder.mkdir()
    with RabbitMQServer(folder) as server:
        site = RabbitMQSite(tmp_path, server)
        request.node.stash[PROGRAMS] = site.workers
        yield site
        site.close()


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_broker_that_comes_back_has_what_it_confirmed(own_site: RabbitMQSite, end: str) -> None:
    site, server = own_site, own_site.server
    journal = site.file()
    for number in range(5):
        site.effect.delay(journal, str(number))
        site.effect.apply_async((journal, "later"), countdown=600)
    worker = site.worker("prefork", concurrency=1)
    server.terminate() if end == "stopped" else server.kill()
    with pytest.raises(BrokerUnavailable):
        site.effect.delay(journal, "refused")
    server.start()
    site.effect.delay(journal, "after")
    wait_for(lambda: {*map(str, range(5)), "after"} <= set(lines(journal)), 120, lambda: f"{lines(journal)}")
    # What rabbitmqctl counts in a quorum queue is some moments old.
    wait_for(lambda: server.queues(site.vhost)["celery_delayed_9"]["messages"] == "5", 60)
    assert worker.terminate() == 0


def test_a_task_whose_connection_is_closed_is_cancelled_and_runs_again(
    site: RabbitMQSite, rabbitmq: RabbitMQServer
) -> None:
    journal, gate = site.file(), site.file("gate")
    site.hold.delay(journal, gate, "a")
    site.worker("prefork", concurrency=1)
    assert wait_lines(journal, 1) == ["begin a"]
    rabbitmq.close_connections()
    assert wait_lines(journal, 2) == ["begin a", "begin a"]
    open_gate(gate)
    wait_for(lambda: site.waiting("celery") == 0)
    assert Counter(wait_lines(journal, 3)) == {"begin a": 2, "end a": 1}


class TestSilence:
    def test_a_publish_ends_within_its_time(self, site: RabbitMQSite, proxy: Proxy) -> None:
        site.add.delay(1, 2)
        proxy.swallow()
        for options in ({}, {"countdown": 5}):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable, match="is not known"):
                site.add.apply_async((1, 2), **options)
            assert time.monotonic() - began < site.app.own_settings.publish_timeout
        proxy.heal()
        site.add.delay(1, 2)

    @pytest.mark.parametrize("countdown", [None, 0.1], ids=["at once", "delayed"])
    def test_a_publish_survives_a_connection_that_died_unnoticed(
        self, site: RabbitMQSite, proxy: Proxy, countdown: float | None
    ) -> None:
        site.add.delay(1, 2)
        proxy.lose()
        site.add.apply_async((1, 2), countdown=countdown)
        wait_for(lambda: site.waiting("celery") == 2)

    def test_a_worker_goes_on_when_the_broker_is_back(self, site: RabbitMQSite, proxy: Proxy) -> None:
        journal = site.file()
        worker = site.worker("prefork", concurrency=1)
        site.effect.delay(journal, "before")
        wait_for(lambda: site.waiting("celery") == 0 and lines(journal))
        proxy.swallow()
        wait_for(lambda: "Connection to broker lost" in worker.log(), message="the worker notices nothing")
        proxy.heal()
        site.effect.delay(journal, "after")
        wait_line(journal, "after")
