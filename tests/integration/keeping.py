"""The sites that tests are given: every kind of place, and what becomes of one with its test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import pytest

from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site
from tests.support import Worker
from tests.support.plugin import PROGRAMS, server


class Kept(Protocol):
    """Whatever has workers, and ends."""

    workers: list[Worker]

    def close(self) -> None: ...


_S = TypeVar("_S", bound=Kept)

#: Stores that are the broker, and ledgers beside one, by name: each takes a folder, and settings.
STORES: dict[str, Callable[..., Site]] = {
    "sqlite": Site,
    "postgres": lambda folder, **settings: PostgresSite(folder, server("CELERIAC_POSTGRES_URL"), **settings),
    "redis": lambda folder, **settings: RedisSite(folder, server("CELERIAC_REDIS_URL"), **settings),
}
BESIDE: dict[str, Callable[..., Site]] = {
    "amqp-postgres": lambda folder, **settings: BesideSite.of(folder, "amqp", "postgres", **settings),
    "redis-sqlite": lambda folder, **settings: BesideSite.of(folder, "redis", "sqlite", **settings),
}
SITES = STORES | BESIDE


class Keep(ExitStack):
    """Keeps a test's site: the logs of its workers are shown where the test fails, and they die with it."""

    def __init__(self, node: pytest.Item) -> None:
        super().__init__()
        self._node: Any = node  # whose stash has lists of whatever programs

    def __call__(self, site: _S) -> _S:
        self._node.stash[PROGRAMS] = site.workers
        self.callback(site.close)
        return site
