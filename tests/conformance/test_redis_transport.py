"""The Redis transport passes the suite of all transports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from celeriac.settings import redis_store_url
from celeriac.store import registry
from celeriac.testing.conformance.transport import TransportConformance
from celeriac.transport import leases
from tests.conformance.redis import drop_prefix, store_url


@pytest.fixture
def broker_url(redis_url: str) -> Iterator[str]:
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    url = store_url(redis_url, prefix)
    wanted = redis_store_url(url)
    yield url
    keeper = leases._KEEPERS.pop(wanted.shown, None)
    if keeper is not None:
        keeper.stop()
    registry._OPEN.pop(f"{wanted.server} {wanted.prefix}").close()
    drop_prefix(redis_url, prefix)


class TestRedisTransport(TransportConformance):
    pass
