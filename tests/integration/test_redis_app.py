"""An app on Redis as Celery's own programs and classes see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.keeping import Keep
from tests.integration.sites import RedisSite, Site


@pytest.fixture
def site(tmp_path: Path, redis_url: str, keep: Keep) -> Site:
    """A prefix of the test's own; its workers die with it."""
    return keep(RedisSite(tmp_path, redis_url))


def test_a_worker_is_inspected_and_its_results_are_fetched(site: Site) -> None:
    with site.working("threads", concurrency=2) as worker:
        assert site.add.delay(1, 2).get(timeout=30) == 3
        assert site.app.control.inspect([worker.nodename], timeout=10).ping() == {worker.nodename: {"ok": "pong"}}
        assert "redis+streams://" in worker.log()
        stats = site.app.control.inspect([worker.nodename], timeout=10).stats()
        assert stats[worker.nodename]["broker"]["hostname"] == site.store.location


def test_connections_are_copied_and_pooled(site: Site) -> None:
    with site.app.connection_for_write() as connection, connection.clone() as copy:
        assert copy.transport.store.location == site.store.location
        assert connection.as_uri() == copy.as_uri() == site.store.location
    with site.app.pool.acquire(block=True) as connection:
        connection.SimpleQueue("plain").put("x")
    assert site.store.size("plain") == 1
