"""Time limits in the pools that run tasks in the worker's own process: as far as each can be interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import states
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from tests.integration.keeping import Keep
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import patient, wait_for
from tests.support.worker import Pool

PATIENCE = 60
POOLS: list[Pool] = ["threads", "solo", "gevent"]


@pytest.fixture
def site(tmp_path: Path, keep: Keep) -> Site:
    return keep(Site(tmp_path))


@pytest.mark.parametrize("pool", POOLS)
def test_a_soft_limit_is_raised_in_the_body(site: Site, pool: Pool) -> None:
    site.worker(pool, concurrency=1)
    assert site.softly_busy.delay().get(timeout=PATIENCE) == "stopped softly"
    # It was the body's, and nothing is left of it for the next.
    assert site.take.delay(site.file(), "next", 1).get(timeout=PATIENCE) == "next"


@pytest.mark.parametrize("pool", ["solo", "gevent"])
def test_a_soft_limit_interrupts_what_waits(site: Site, pool: Pool) -> None:
    site.worker(pool, concurrency=1)
    assert site.soft_limited.delay().get(timeout=PATIENCE) == "stopped softly"


@pytest.mark.parametrize("pool", POOLS)
def test_a_soft_limit_cancels_a_coroutine(site: Site, pool: Pool) -> None:
    site.worker(pool, concurrency=1)
    journal = site.file()
    result = site.soft_limited_later.delay(journal)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=PATIENCE)
    wait_line(journal, "cancelled")
    assert site.letter(result.id).error == "the soft time limit of 0.5 s was exceeded"


@pytest.mark.parametrize("pool", POOLS)
def test_a_hard_limit_is_a_dead_letter_after_one_run(site: Site, pool: Pool) -> None:
    site.worker(pool, concurrency=1)
    journal, gate = site.file(), site.file("gate")
    result = site.hold.apply_async((journal, gate, "a"), time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    # The body was interrupted: the one slot is free again.
    assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2
    open_gate(gate)
    assert site.wait_ended([result.id])[result.id].state == states.FAILURE
    letter = site.letter(result.id)
    assert letter.reason == "time-limit"
    assert letter.error.startswith("the hard time limit of 1")
    assert counts(journal) == {"begin a": 1}


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_what_goes_on_after_its_hard_limit_settles_nothing(site: Site, pool: Pool) -> None:
    worker = site.worker(pool, concurrency=2)
    journal, gate = site.file(), site.file("gate")
    result = site.stubborn.delay(journal, gate)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    if pool == "threads":
        assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2
    open_gate(gate)
    wait_line(journal, "end")
    wait_for(lambda: "has ended, after its time limit had settled it" in worker.log(), PATIENCE, worker.tail)
    assert site.state(result.id) == states.FAILURE
    assert len(site.letters()) == 1
    assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2


def test_a_thread_that_cannot_be_interrupted_keeps_its_slot_and_that_of_no_limit(site: Site) -> None:
    """Of the worker, which has no more threads than it was given. A limit's is free: one that hangs must not stop all others."""
    worker = site.worker("threads", concurrency=2)
    journal = site.file()
    result = site.deaf_alone.apply_async((journal,), time_limit=1)
    waits = site.deaf_alone.delay(journal, first=False)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    assert waits.get(timeout=PATIENCE) == "alone"
    wait_for(lambda: "cannot be interrupted" in worker.log(), PATIENCE, worker.tail)
    assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2
    assert worker.running


def test_a_solo_worker_that_cannot_be_interrupted_ends(site: Site) -> None:
    worker = site.worker("solo")
    journal = site.file()
    result = site.deaf.apply_async((journal,), time_limit=1)
    wait_line(journal, "begin")
    other = site.add.delay(1, 1)
    assert worker.wait(patient(30)) == 1
    assert site.letter(result.id).reason == "time-limit"
    site.worker("solo")
    assert other.get(timeout=PATIENCE) == 2
    assert lines(journal) == ["begin"]
