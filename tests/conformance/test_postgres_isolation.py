"""A role, or a URL, whose transactions are stricter than PostgreSQL's by default: celeriac's own are not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from celeriac.core.message import IdempotencyKey, TaskMessage
from celeriac.store.tables import Outside
from tests.conformance.postgres import ClockedStore, PostgresHarness

STRICT = "options=-c%20default_transaction_isolation%3Dserializable"
PUBLISHERS, EACH = 4, 50


@pytest.fixture
def store(postgres_url: str) -> Iterator[ClockedStore]:
    harness = PostgresHarness(f"{postgres_url}?{STRICT}")
    yield harness.open()
    harness.close()


def _keyed(number: int, publisher: int) -> TaskMessage:
    key = IdempotencyKey("task", f"{number}", "digest", 60.0)
    return TaskMessage("queue", "[]", "[]", task_id=f"{publisher}-{number}", name="task", key=key)


def test_publishers_that_meet_are_not_refused(store: ClockedStore) -> None:
    """Of those that read what the others write a serializable transaction lets one commit."""

    def publish(publisher: int) -> None:
        for number in range(EACH):
            store.publish([_keyed(number, publisher)])

    with ThreadPoolExecutor(PUBLISHERS) as pool:
        list(pool.map(publish, range(PUBLISHERS)))
    assert store.size("queue") == EACH


def test_an_outboxes_relay_is_not_refused_either(postgres_url: str) -> None:
    with closing(Outside(f"{postgres_url}?{STRICT}")) as outside, outside.lock:
        with psycopg.connect(f"{postgres_url}?{STRICT}") as theirs:
            assert theirs.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
        assert outside.raw.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
