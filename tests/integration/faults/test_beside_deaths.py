"""A ledger beside another broker: workers die at every point where it hurts; the tests of the embedded store, and some more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.breaking import POINTS
from tests.integration.breaking_pools import CONNECTING
from tests.integration.faults.test_kills import (
    Workload,
    test_a_living_worker_takes_over_without_a_restart,
    test_a_pool_process_killed_inside_a_body,
    test_a_stopped_worker_settles_nothing,
    test_killed_inside_bodies,
)
from tests.integration.faults.test_poison import (
    test_a_poison_task_in_a_pool_of_processes,
    test_a_poison_task_that_takes_the_worker_with_it,
    test_a_task_that_crashes_twice_is_not_buried,
)
from tests.integration.keeping import Keep
from tests.integration.sites import BesideSite, counts, lines
from tests.support import wait_for
from tests.support.worker import Pool

__all__ = [
    "test_a_living_worker_takes_over_without_a_restart",
    "test_a_poison_task_in_a_pool_of_processes",
    "test_a_poison_task_that_takes_the_worker_with_it",
    "test_a_pool_process_killed_inside_a_body",
    "test_a_stopped_worker_settles_nothing",
    "test_a_task_that_crashes_twice_is_not_buried",
    "test_killed_inside_bodies",
]

KILLS, TASKS = 4, 150


@pytest.fixture
def where() -> tuple[str, str]:
    """The broker, and the ledger beside it."""
    return "redis", "sqlite"


@pytest.fixture
def site(tmp_path: Path, where: tuple[str, str], keep: Keep) -> BesideSite:
    return keep(BesideSite.of(tmp_path, *where))


DEATHS: list[tuple[str, Pool, tuple[str, str]]] = [
    ("adopted", "solo", ("redis", "sqlite")),
    ("adopted", "prefork", ("amqp", "postgres")),
    ("relayed", "prefork", ("redis", "postgres")),
    ("relayed", "solo", ("amqp", "sqlite")),
    ("settling", "threads", ("redis", "sqlite")),
    ("in-transaction", "gevent", ("redis", "postgres")),
    ("settled", "prefork", ("redis", "sqlite")),
    ("settled", "threads", ("amqp", "postgres")),
    ("acking", "prefork", ("redis", "postgres")),
    ("joining", "solo", ("redis", "sqlite")),
    ("joined", "threads", ("redis", "postgres")),
]


@pytest.mark.parametrize(("point", "pool", "where"), DEATHS)
def test_a_worker_dies(site: BesideSite, point: str, pool: Pool) -> None:
    work = Workload(site)
    assert not POINTS[point].alone
    worker = site.worker(pool, wait=False, concurrency=1 if pool == "solo" else 2, break_at=point)
    worker.wait()
    worker.close()
    before, settled = lines(work.journal), work.settled()
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    work.check(before, settled)


@pytest.mark.parametrize("where", [("redis", "postgres"), ("amqp", "sqlite")])
def test_a_storm_of_kills(site: BesideSite, where: tuple[str, str]) -> None:
    """Accepted is settled, once each; what ran again was running when its worker died."""
    journal = site.file()
    ids = [site.take.delay(journal, str(number), 0.05).id for number in range(TASKS)]
    ids += [site.keyed.delay(f"{site.name} {number}", journal).id for number in range(20)]
    slots = 2
    for kill in range(KILLS):
        doomed = site.worker("prefork", concurrency=slots)
        wait_for(lambda: len(lines(journal)) > kill * 30 + 10, 60)  # noqa: B023  # asked at once
        doomed.kill()
    site.worker("prefork", concurrency=slots)
    records = site.wait_ended(ids, 90)
    assert {record.state for record in records.values()} == {"SUCCESS"}
    assert site.letters() == []
    noted = counts(journal)
    assert all(noted[f"end {number}"] >= 1 for number in range(TASKS))
    repeated = sum(noted.values()) - 2 * TASKS - 20
    assert repeated <= KILLS * slots * 2 * 16  # what a dead process had done and not settled, a group commit at most


def test_a_run_that_may_not_be_repeated_is_a_dead_letter(site: BesideSite) -> None:
    journal = site.file()
    site.worker("prefork")
    result = site.die_acked_early.delay(journal)
    wait_for(site.letters, 30)
    assert site.letter(result.id).reason == "worker-lost"
    assert lines(journal) == ["die"]


def test_a_retry_outlives_its_worker(site: BesideSite) -> None:
    doomed = site.worker("solo")
    result = site.retry_until.delay(1, 2.0)
    wait_for(lambda: site.attempts(result.id), 30)
    doomed.kill()
    site.worker("solo")
    assert result.get(timeout=30) == 1


@pytest.mark.parametrize("where", [("amqp", "sqlite")])
def test_a_process_that_is_forked_while_the_relay_connects(site: BesideSite, where: tuple[str, str]) -> None:
    """It would have the import's lock for ever, and stand still where it connects itself."""
    journal = site.file()
    ids = [site.spawn_keyed.delay(f"{site.name} {number}", journal).id for number in range(24)]
    worker = site.worker("prefork", concurrency=3, arguments=["--max-tasks-per-child=1"], break_at=CONNECTING)
    site.wait_ended(ids)
    wait_for(lambda: len(lines(journal)) >= len(ids), 60)
    assert len(lines(worker.env["SITE_BROKEN"])) >= len(ids)
