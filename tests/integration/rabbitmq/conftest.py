from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.rabbitmq.sites import RabbitMQSite
from tests.support import ServerMissing
from tests.support.plugin import PROGRAMS
from tests.support.rabbitmq import RabbitMQServer


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """A server of these tests' own, which takes its time to start; none of them stops it."""
    try:
        server = RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"))
    except ServerMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQServer, request: pytest.FixtureRequest) -> Iterator[RabbitMQSite]:
    """A virtual host of the test's own; its workers die with it."""
    site = RabbitMQSite(tmp_path, rabbitmq)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()
