"""What goes wrong beside a task's body, or in a way that Celery's worker does not survive, ends like anything else."""

from __future__ import annotations

import pytest
from celery import states

from tests.integration.sites import Site, lines
from tests.support import wait_for
from tests.support.worker import Pool

POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["fail_rudely", "fail_rudely_unread"])
def test_on_failure_that_raises(site: Site, name: str, pool: Pool) -> None:
    """The body's error stands, it runs once, and every slot of the worker is free again."""
    journal = site.file()
    worker = site.worker(pool, concurrency=2)
    ids = [site.app.tasks[name].delay(journal).id for _ in range(4)]
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.FAILURE}
    assert lines(journal) == ["run"] * 4
    for task_id in ids:
        letter = site.letter(task_id)
        assert (letter.reason, letter.error) == ("permanent", "the body's own")
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


@pytest.mark.parametrize("pool", POOLS)
def test_its_error_is_what_the_caller_gets(site: Site, pool: Pool) -> None:
    site.worker(pool)
    with pytest.raises(ValueError, match="the body's own"):
        site.fail_rudely.delay(site.file()).get(timeout=30)


@pytest.mark.parametrize("pool", POOLS)
def test_on_retry_that_raises(site: Site, pool: Pool) -> None:
    journal = site.file()
    site.worker(pool)
    assert site.retry_rudely.delay(journal).get(timeout=30) == "done"
    assert lines(journal) == ["run"] * 3


@pytest.mark.parametrize("pool", POOLS)
def test_on_success_that_rejects(site: Site, pool: Pool) -> None:
    """It is too late for that: the result is stored."""
    journal = site.file()
    site.worker(pool)
    result = site.succeed_rudely.delay(journal)
    assert result.get(timeout=30) == "done"
    site.wait_ended([result.id])
    assert lines(journal) == ["run"]


def test_a_hard_time_limit_under_hooks_that_raise(site: Site) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=1)
    result = site.hard_limited_rudely.delay(journal)
    site.wait_ended([result.id])
    assert site.letter(result.id).reason == "time-limit"
    assert lines(journal) == ["run"]
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_task_that_wants_to_leave_ends_alone(site: Site, pool: Pool, how: str) -> None:
    journal = site.file()
    worker = site.worker(pool, concurrency=2)
    ids = [site.leave.delay(journal, how).id for _ in range(4)]
    site.wait_ended(ids)
    assert {site.letter(task_id).error_type for task_id in ids} == {"celeriac.errors.TaskExited"}
    assert lines(journal) == ["run"] * 4
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_without_memory_ends_alone(site: Site, pool: Pool) -> None:
    journal = site.file()
    worker = site.worker(pool, concurrency=2)
    ids = [site.leave.delay(journal, "memory").id for _ in range(4)]
    site.wait_ended(ids)
    assert {site.letter(task_id).error for task_id in ids} == {"a lot"}
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


def test_a_pool_process_that_left_is_buried_in_the_end(site: Site) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=1)
    result = site.leave.delay(journal, "exit")
    site.wait_ended([result.id])
    assert site.letter(result.id).reason == "poison"
    assert lines(journal) == ["run"] * 3
    assert worker.running


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_error_callbacks_are_sent_once(site: Site, pool: Pool) -> None:
    journal, told = site.file(), site.file("told")
    site.worker(pool)
    result = site.fail_rudely.apply_async((journal,), link_error=site.on_error_by_id.s(journal=told))
    site.wait_ended([result.id])
    wait_for(lambda: len(lines(told)) == 1, 30)
    site.add.delay(1, 1).get(timeout=30)
    assert len(lines(told)) == 1
