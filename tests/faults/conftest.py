from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.brokers import BROKERS, Broker, Missing


@pytest.fixture(scope="session")
def seed() -> int:
    """Of this session, from SEED or by chance; a failure names it."""
    return int(os.environ.get("SEED") or random.randrange(1_000_000))


@pytest.fixture(scope="session")
def sqlite() -> Iterator[Broker]:
    yield from _started("sqlite")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Broker]:
    yield from _started("postgresql")


def _started(name: str) -> Iterator[Broker]:
    try:
        broker = BROKERS[name]()
    except Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    yield broker
    broker.close()
