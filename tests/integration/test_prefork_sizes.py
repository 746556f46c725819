"""A pool of processes that grows, shrinks and replaces its processes while jobs lie ready in their pipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from celery import states

from tests.integration.breaking_pools import DAWDLING, WATCHING_PIPES
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import Worker, wait_for

#: Seconds without a task until the pool shrinks.
KEEPALIVE = {"AUTOSCALE_KEEPALIVE": "0.05"}
MANY = 200


@pytest.fixture
def site(lasting_site: Site) -> Site:
    return lasting_site


def _check_done_once(site: Site, ids: Sequence[str], journal: str) -> None:
    """Each ended well, in one run; nothing is left, in a queue or with a worker."""
    records = site.wait_ended(ids, 120)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal).values()) == {1}
    assert [attempt for task_id in ids for attempt in site.attempts(task_id)] == []
    assert site.letters() == []
    assert site.queues() == {}


def _wait_for_size(worker: Worker, size: int) -> None:
    wait_for(lambda: len(worker.children()) == size, 60, lambda: f"{worker.children()}\n{worker.tail()}")


def test_a_pool_that_scales_itself_runs_each_task_once(site: Site) -> None:
    """To its largest size, beside what takes long to one less, and to its smallest when there is nothing to do."""
    worker = site.worker("prefork", arguments=["--autoscale=3,1"], env=KEEPALIVE)
    journal = site.file()
    ids: list[str] = []
    for wave in range(3):
        gate = site.file("gate")
        ids += [site.effect.delay(journal, f"{wave} before {number}").id for number in range(MANY)]
        held = [site.hold.delay(journal, gate, f"{wave} long {number}").id for number in range(2)]
        short = [site.effect.delay(journal, f"{wave} after {number}").id for number in range(MANY)]
        for number in range(2):
            wait_line(journal, f"begin {wave} long {number}")
        wait_for(lambda: len(site.ended(short)) == MANY, 60, worker.tail)  # noqa: B023
        _wait_for_size(worker, 2)
        grown = worker.log().count("Scaling up")
        short += [site.effect.delay(journal, f"{wave} beside {number}").id for number in range(MANY)]
        wait_for(lambda: worker.log().count("Scaling up") > grown, 60, worker.tail)  # noqa: B023
        wait_for(lambda: len(site.ended(short)) == 2 * MANY, 60, worker.tail)  # noqa: B023
        open_gate(gate)
        ids += [*held, *short]
        site.wait_ended(ids)
        _wait_for_size(worker, 1)
    _check_done_once(site, ids, journal)


def test_a_pool_that_scales_all_the_time_runs_each_task_once(site: Site) -> None:
    """A few tasks at a time: the pool grows for them, and shrinks while the longest runs."""
    worker = site.worker("prefork", arguments=["--autoscale=3,1"], env=KEEPALIVE)
    journal = site.file()
    ids: list[str] = []
    for turn in range(25):
        shrunk = worker.log().count("Scaling down")
        ids += [site.take.delay(journal, f"{turn} {n}", seconds).id for n, seconds in enumerate((0.001, 0.2, 0.001))]
        wait_for(lambda: worker.log().count("Scaling down") > shrunk, 60, worker.tail)  # noqa: B023
    _check_done_once(site, ids, journal)


@pytest.mark.parametrize("limit", ["tasks", "memory"])
def test_processes_that_are_replaced_run_each_task_once(site: Site, limit: str) -> None:
    """With the next job in their pipe, which a process that ends leaves there."""
    journal, size = site.file(), 2_000_000
    option = "--max-tasks-per-child=7"
    if limit == "memory":
        with site.working("prefork", concurrency=2):
            peak = site.peak_memory.delay().get(timeout=30)
        option = f"--max-memory-per-child={peak + 5 * size // 1024}"
    ids = [site.swell.delay(journal, f"{number}", size if limit == "memory" else 0).id for number in range(MANY)]
    site.worker("prefork", concurrency=2, arguments=[option], break_at=WATCHING_PIPES)
    _check_done_once(site, ids, journal)
    by_process = Counter(line.split()[1] for line in lines(journal))
    assert len(by_process) >= MANY // 10
    (left,) = site.folder.glob("broken-*")
    assert len(lines(str(left))) >= MANY // 20


def test_a_process_that_is_replaced_settles_what_a_thread_of_its_has_in_hand(site: Site) -> None:
    journal = site.file()
    ids = [site.effect.delay(journal, f"{number}").id for number in range(6)]
    site.worker("prefork", concurrency=2, arguments=["--max-tasks-per-child=1"], break_at=DAWDLING)
    _check_done_once(site, ids, journal)
