"""The Redis store passes the suite of all stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.conformance import StoreConformance, StoreHarness
from tests.conformance.redis import RedisHarness


@pytest.fixture
def harness(redis_url: str) -> Iterator[StoreHarness]:
    opened = RedisHarness(redis_url)
    yield opened
    opened.close()


class TestRedisStore(StoreConformance):
    pass
