"""Redis stores whose clock goes as the test wants, each under a prefix of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import closing
from typing import ClassVar

import redis

from celeriac.settings import redis_store_url
from celeriac.store.redis import RedisStore
from celeriac.store.redis.scripts import Script, compose, sources
from celeriac.testing.conformance import StoreHarness
from tests.conformance.sqlite import Passed

#: The clock of the scripts, ahead by what a key says.
CLOCK = """
local function clock()
    local now = redis.call('TIME')
    return now[1] + now[2] / 1000000 + (redis.call('GET', KEYS[1] .. 'passed') or 0)
end
"""
#: The files of the scripts, as the tests' stores run them.
SOURCES = {**sources(), "lib/clock": CLOCK}


class ClockedStore(RedisStore):
    """A store ahead of its time."""

    scripts: ClassVar[Mapping[str, Script]] = compose(SOURCES)
    passed: Passed

    def now(self) -> float:
        return super().now() + self.passed.seconds


class RedisHarness(StoreHarness):
    """Stores under one prefix."""

    def __init__(self, server: str, scripts: Mapping[str, Script] = ClockedStore.scripts) -> None:
        self.server = server
        self.prefix = f"test-{uuid.uuid4().hex[:12]}"
        self._passed = Passed()
        self._kind = type("Store", (ClockedStore,), {"scripts": scripts, "passed": self._passed})
        self._opened: list[ClockedStore] = []

    @property
    def place(self) -> str:
        """The URL of the prefix, as a broker's."""
        return store_url(self.server, self.prefix)

    def open(self) -> ClockedStore:
        store: ClockedStore = self._kind(redis_store_url(self.place))
        self._opened.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        self._passed.seconds += seconds
        with closing(redis.Redis.from_url(self.server)) as raw:
            raw.set(f"{{{self.prefix}}}:passed", repr(self._passed.seconds))

    def close(self) -> None:
        for store in self._opened:
            store.close()
        drop_prefix(self.server, self.prefix)


def store_url(server: str, prefix: str) -> str:
    """The broker's URL of a prefix on a server."""
    return f"{server.replace('redis://', 'redis+streams://', 1)}?prefix={prefix}&durability=none"


def drop_prefix(server: str, prefix: str) -> None:
    """Delete all keys under a prefix."""
    with closing(redis.Redis.from_url(server)) as raw:
        names = list(raw.scan_iter(f"{{{prefix}}}:*", count=10_000))
        for start in range(0, len(names), 1_000):
            raw.unlink(*names[start : start + 1_000])
