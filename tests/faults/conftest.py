from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest

from tests.faults.brokers import BROKERS, Broker, Missing


@pytest.fixture(scope="session")
def seed() -> int:
    """Of this session, from SEED or by chance; a failure names it."""
    return int(os.environ.get("SEED") or random.randrange(1_000_000))


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[str], Broker]]:
    """Brokers by name, each started once; the test of one that cannot be had is skipped."""
    brokers: dict[str, Broker] = {}

    def get(name: str) -> Broker:
        if name not in brokers:
            try:
                brokers[name] = BROKERS[name]()
            except Missing as missing:
                if os.environ.get("CI"):
                    raise
                pytest.skip(str(missing))
        return brokers[name]

    yield get
    for broker in brokers.values():
        broker.close()
