"""Dead letters that an older version wrote: grouped, filtered and imported as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.fingerprints import fingerprint
from celeriac.store.protocols import Store
from celeriac.testing.conformance.desk import ALL, bury, found
from celeriac.testing.conformance.harness import ME
from tests.conformance.redis import RedisHarness
from tests.conformance.sqlite import SQLiteHarness

Age = Callable[[], None]


@pytest.fixture(params=["sqlite", "redis"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Age]]:
    """A store, and what makes its dead letters those of an older version."""
    if request.param == "sqlite":
        file = SQLiteHarness(tmp_path / "shop.db")
        store = file.open()

        def age_file() -> None:
            with store.database.writer.writing() as raw:
                raw.execute("UPDATE dead_letter SET fingerprint = NULL")

        yield store, age_file
        file.close()
        return
    server = RedisHarness(request.getfixturevalue("redis_url"))

    def age_server() -> None:
        with closing(redis.Redis.from_url(server.server)) as raw:
            for name in raw.scan_iter(f"{{{server.prefix}}}:l:*", count=1_000):
                raw.hdel(name, "print")
            for name in raw.scan_iter(f"{{{server.prefix}}}:ln:*", count=1_000):
                raw.delete(name)

    yield server.store, age_server
    server.close()


def test_they_are_grouped_with_others(older: tuple[Store, Age]) -> None:
    store, age = older
    bury(store, "a", "no order 1")
    age()
    bury(store, "b", "no order 2")
    [letter, _] = store.dead_letters(ALL)
    assert letter.fingerprint is None
    known = fingerprint("builtins.OSError", "no order 3")
    assert found(store, DeadLetterFilter(fingerprint=known)) == ["a", "b"]
    assert [(group.fingerprint, group.count) for group in store.error_groups(ALL)] == [(known, 2)]


def test_they_are_known_to_an_import(older: tuple[Store, Age]) -> None:
    store, age = older
    letter = bury(store, "a")
    age()
    assert store.import_dead_letters([letter], ME) == 0
    store.purge_dead_letters([letter.id], ME)
    assert [store.import_dead_letters([letter], ME) for _ in range(2)] == [1, 0]


def test_one_that_an_older_version_has_dropped_is_not(redis_url: str) -> None:
    harness = RedisHarness(redis_url)
    letter = bury(harness.store, "a")
    base = f"{{{harness.prefix}}}:"
    with closing(redis.Redis.from_url(redis_url)) as raw:
        raw.delete(f"{base}l:{letter.id}")
        raw.zrem(f"{base}letters", letter.id)
        raw.zrem(f"{base}letters:failed", letter.id)
        raw.hdel(f"{base}lettered", "a")
    assert harness.store.import_dead_letters([letter], ME) == 1
    harness.close()
