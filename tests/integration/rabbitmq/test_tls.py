"""RabbitMQ over TLS: what is promised without it holds with it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools

from celeriac import BrokerUnavailable
from celeriac.errors import Unroutable
from tests.integration.rabbitmq.sites import RabbitMQSite, wait_lines
from tests.integration.tasks import lines, make_app
from tests.support import patient
from tests.support.plugin import PROGRAMS
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQServer
from tests.support.tls import HERE, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, rabbitmq: RabbitMQServer
) -> Iterator[RabbitMQServer]:
    """(The other fixture skips where there is none.)"""
    with RabbitMQServer(tmp_path_factory.mktemp("secured"), authority) as server:
        yield server


@pytest.fixture
def site(
    tmp_path: Path, secured: RabbitMQServer, authority: Authority, request: pytest.FixtureRequest
) -> Iterator[RabbitMQSite]:
    site = RabbitMQSite(tmp_path, secured, port=secured.tls_port, broker_use_ssl=trusting(authority))
    assert site.url.startswith("amqps://")
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()


def trusting(authority: Authority, **options: Any) -> dict[str, Any]:
    """What a broker's certificate must be, as Celery's setting takes it."""
    return {
        "ca_certs": str(authority.certificate),
        "cert_reqs": int(ssl.CERT_REQUIRED),
        "server_hostname": HERE,
        **options,
    }


def test_tasks_run_and_what_no_queue_gets_is_told(site: RabbitMQSite) -> None:
    journal = site.file()
    for number in range(10):
        site.effect.apply_async((journal, str(number)), countdown=1 if number % 5 == 0 else None)
    worker = site.worker("prefork", concurrency=2)
    wait_lines(journal, 10)
    with pytest.raises(Unroutable):
        site.add.apply_async((1, 2), exchange="amq.direct", routing_key="nowhere")
    assert worker.terminate() == 0
    assert sorted(lines(journal), key=int) == [str(number) for number in range(10)]
    assert "reject-publish" in site.queues()["celery"]["arguments"]


def test_a_broker_that_says_nothing_is_given_up_in_time(site: RabbitMQSite, authority: Authority) -> None:
    """Also where it is to show who it is."""
    with Proxy(HERE, site.server.tls_port) as way:
        url = site.url.replace(f":{site.server.tls_port}", f":{way.port}")
        app = make_app(url, broker_use_ssl=trusting(authority))
        app.tasks["add"].delay(1, 2)
        way.swallow()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable, match="is not known"):
                app.tasks["add"].delay(1, 2)
            assert time.monotonic() - began < patient(app.own_settings.publish_timeout)
        way.heal()
        app.tasks["add"].delay(1, 2)
        app.close()
    assert site.waiting("celery") == 2


def test_a_broker_for_whom_nobody_vouches_gets_nothing(
    site: RabbitMQSite, authority: Authority, tmp_path: Path
) -> None:
    site.add.delay(1, 2)
    stranger = Authority(tmp_path / "stranger")
    for use_ssl in (trusting(stranger), trusting(authority, server_hostname="elsewhere.example")):
        app = site.other(broker_use_ssl=use_ssl)
        pools.reset()  # kombu's key of a pool leaves out what TLS is to check
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            app.tasks["add"].delay(1, 2)
        app.close()
    assert site.waiting("celery") == 1
