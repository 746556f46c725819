"""The stores of the files that are about PostgreSQL alone; those of the other stores make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.postgres import PostgresHarness
from tests.support.own_postgres import Server


@pytest.fixture
def harness(postgres_url: str) -> Iterator[PostgresHarness]:
    """On a schema of its own of the server at ``postgres_url``, which a file may name anew."""
    opened = PostgresHarness(postgres_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def own_server() -> Iterator[Server]:
    """A server on which nobody else's transactions keep what is gone; leave none behind."""
    with Server(max_prepared_transactions=5) as started:
        yield started
