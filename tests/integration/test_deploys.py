"""Deploys: a worker that is asked to end does so within its grace, and what it had runs elsewhere as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.keeping import SITES, Keep
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import patient, wait_for
from tests.support.worker import Pool

PATIENCE = 60
POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]
GRACE = 1.0


def graceful(site: Site, seconds: float | None = GRACE) -> Site:
    site.settings["celeriac_shutdown_grace_seconds"] = seconds
    return site


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(graceful(SITES[request.param](tmp_path)))


@pytest.fixture
def one_site(tmp_path: Path, keep: Keep) -> Site:
    return keep(graceful(Site(tmp_path)))


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_nothing_more_is_begun(one_site: Site, pool: Pool) -> None:
    """In the worker's own thread, too, where Celery's loop looks once more for messages after it was asked to end."""
    site = graceful(one_site, 30.0)
    journal, gate = site.file(), site.file("gate")
    result = site.hold.delay(journal, gate, "a")
    worker = site.worker(pool, concurrency=1)
    wait_for(lambda: lines(journal), PATIENCE, worker.tail)
    waiting = [site.effect.delay(journal, f"effect {number}").id for number in range(5)]
    os.kill(worker.pid, signal.SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log(), PATIENCE, worker.tail)
    open_gate(gate)
    assert worker.wait(patient(20)) == 0
    assert [site.state(task_id) for task_id in (result.id, *waiting)] == ["SUCCESS", *["PENDING"] * 5]


def test_what_is_not_over_is_handed_back_and_no_attempt_counts(site: Site) -> None:
    """By a worker in each of the pools: four times, of which three crashes would bury it."""
    journal, gate = site.file(), site.file("gate")
    result, waiting = site.hold.delay(journal, gate, "a"), None
    for attempt, pool in enumerate(POOLS):
        worker = site.worker(pool, concurrency=1)
        wait_for(lambda: len(lines(journal)) == attempt + 1, PATIENCE, worker.tail)  # noqa: B023
        waiting = site.effect.delay(journal, "effect") if attempt == 3 else None
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(patient(GRACE + 10)) == 0
        worker.close()
        assert site.attempts(result.id) == [], pool
    open_gate(gate)
    site.worker("solo")
    assert waiting is not None
    site.wait_ended([result.id, waiting.id])
    assert site.state(result.id) == "SUCCESS"
    assert site.attempts(result.id) == []
    assert site.letters() == []
    assert counts(journal) == {"begin a": 5, "end a": 1, "effect": 1}


@pytest.mark.parametrize("pool", POOLS)
def test_what_ends_within_the_grace_ends(one_site: Site, pool: Pool) -> None:
    graceful(one_site, 60)
    journal, gate = one_site.file(), one_site.file("gate")
    result = one_site.hold.delay(journal, gate, "a")
    worker = one_site.worker(pool, concurrency=1)
    wait_line(journal, "begin a")
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGTERM)  # a second one changes nothing
    wait_for(lambda: "Warm shutdown" in worker.log(), PATIENCE, worker.tail)
    open_gate(gate)
    assert worker.wait() == 0
    assert result.get(timeout=PATIENCE) == "a"
    assert counts(journal) == {"begin a": 1, "end a": 1}


@pytest.mark.parametrize("pool", POOLS)
def test_what_never_sleeps_keeps_no_worker_from_ending(one_site: Site, pool: Pool) -> None:
    journal, gate = one_site.file(), one_site.file("gate")
    result = one_site.compute.delay(journal, gate, "a")
    worker = one_site.worker(pool, concurrency=1)
    wait_line(journal, "begin a")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(patient(GRACE + 10)) == 0
    open_gate(gate)
    one_site.worker("solo")
    assert result.get(timeout=PATIENCE) == "a"
    assert one_site.attempts(result.id) == []


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_call_that_lets_no_signal_handler_run_keeps_no_worker_from_ending(one_site: Site, pool: Pool) -> None:
    journal = one_site.file()
    result = one_site.deaf.delay(journal)
    worker = one_site.worker(pool, concurrency=1)
    wait_line(journal, "begin")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(patient(GRACE + 10)) == 0
    assert one_site.state(result.id) == "PENDING"


def test_a_slot_is_free_as_soon_as_its_worker_ends(one_site: Site) -> None:
    journal, gate = one_site.file(), one_site.file("gate")
    one_site.settings |= {"celeriac_lease_seconds": 600, "celeriac_renew_seconds": 100}
    first = one_site.alone.delay(journal, gate)
    worker = one_site.worker("threads", concurrency=2)
    wait_line(journal, f"begin {worker.pid}")
    second = one_site.alone.delay(journal)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(patient(GRACE + 10)) == 0
    open_gate(gate)
    one_site.worker("threads", concurrency=2)
    one_site.wait_ended([first.id, second.id])


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_must_not_run_twice_is_kept_for_people(one_site: Site, pool: Pool) -> None:
    journal, gate = one_site.file(), one_site.file("gate")
    result = one_site.hold_acked_early.delay(journal, gate, "a")
    worker = one_site.worker(pool, concurrency=1)
    wait_line(journal, "begin a")
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(patient(GRACE + 10))
    open_gate(gate)
    one_site.worker(pool, concurrency=1)
    wait_for(lambda: bool(one_site.letters()), PATIENCE, lambda: str(one_site.queues()))
    assert one_site.letter(result.id).reason == "worker-lost"
    assert counts(journal) == {"begin a": 1}


def test_remote_control_asks_with_the_same_grace(one_site: Site) -> None:
    journal, gate = one_site.file(), one_site.file("gate")
    one_site.hold.delay(journal, gate, "a")
    worker = one_site.worker("threads", concurrency=1)
    wait_line(journal, "begin a")
    one_site.app.control.shutdown()
    assert worker.wait(patient(GRACE + 10)) == 0


def test_without_a_grace_a_worker_waits_as_celerys_do(one_site: Site) -> None:
    graceful(one_site, None)
    journal, gate = one_site.file(), one_site.file("gate")
    result = one_site.hold.delay(journal, gate, "a")
    worker = one_site.worker("threads", concurrency=1)
    wait_line(journal, "begin a")
    before = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log(), PATIENCE, worker.tail)
    wait_for(lambda: time.monotonic() > before + 2 * GRACE, PATIENCE, "")
    open_gate(gate)
    assert worker.wait() == 0
    assert result.get(timeout=PATIENCE) == "a"
