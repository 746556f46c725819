"""Tasks that outlast a lease, processes that outlast few tasks, and workers that are told to end."""

from __future__ import annotations

import os
import signal

import pytest
from celery import states
from celery.exceptions import WorkerLostError

from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import Worker, patient, wait_for
from tests.support.worker import Pool

POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]


LONG: list[tuple[str, Pool]] = [
    *(("hold", pool) for pool in POOLS),
    ("hold_acked_early", "prefork"),
    ("hold_acked_early", "threads"),
    ("hold_later", "threads"),
    ("compute", "solo"),
    ("compute", "gevent"),
]


@pytest.mark.parametrize(("kind", "pool"), LONG)
def test_a_task_longer_than_its_lease_runs_once(site: Site, kind: str, pool: Pool) -> None:
    """Beside another worker that would gladly take it over."""
    journal, gate = site.file(), site.file("gate")
    site.worker(pool)
    result = site.app.tasks[kind].delay(journal, gate, "a")
    wait_line(journal, "begin a")
    site.worker("solo")
    began = site.store.lease_now()
    wait_for(lambda: site.store.lease_now() > began + 2.5, 30)
    open_gate(gate)
    assert result.get(timeout=30) == "a"
    site.wait_ended([result.id])
    assert lines(journal) == ["begin a", "end a"]
    assert site.attempts(result.id) == []


@pytest.mark.parametrize("name", ["die_acked_early", "die_and_stay_dead"])
def test_a_process_lost_under_a_task_that_must_not_run_again(site: Site, name: str) -> None:
    """Celery's own options say so; it is kept for people, and never repeated."""
    journal = site.file()
    worker = site.worker("prefork", concurrency=1)
    result = site.app.tasks[name].delay(journal)
    with pytest.raises(WorkerLostError, match="does not run again by itself"):
        result.get(timeout=30)
    site.wait_ended([result.id])
    assert lines(journal) == ["die"]
    assert site.letter(result.id).reason == "worker-lost"
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_lost_under_a_task_acknowledged_early(site: Site, pool: Pool) -> None:
    """However short its run was: it is marked before it begins."""
    journal = site.file()
    result = site.die_acked_early.delay(journal)
    site.worker(pool, wait=False).wait()
    site.worker(pool)
    with pytest.raises(WorkerLostError, match="does not run again by itself"):
        result.get(timeout=30)
    site.wait_ended([result.id])
    assert lines(journal) == ["die"]
    assert site.letter(result.id).reason == "worker-lost"


@pytest.mark.parametrize("option", ["--max-tasks-per-child=7", "--max-memory-per-child=1"])
def test_processes_that_are_replaced_lose_and_repeat_nothing(site: Site, option: str) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=2, arguments=[option])
    before = set(worker.children())
    # As few as take several processes; with so little memory each does one.
    number = 60 if "tasks" in option else 12
    ids = [site.effect.delay(journal, str(line)).id for line in range(number)]
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {str(line): 1 for line in range(number)}
    assert site.letters() == []
    assert [attempt for task_id in ids for attempt in site.attempts(task_id)] == []
    assert not before & set(worker.children())


def _ask(site: Site, worker: Worker, command: str) -> dict[str, str]:
    """A worker's answer to a command about one process of its pool."""
    replies = site.app.control.broadcast(command, {"n": 1}, reply=True, timeout=10, destination=[worker.nodename])
    answer: dict[str, str] = replies[0][worker.nodename]
    return answer


def test_a_pool_that_grows_and_shrinks(site: Site) -> None:
    journal = site.file()
    worker = site.worker("prefork", concurrency=2)
    ids: list[str] = []
    for step in ("pool_grow", "pool_shrink", "pool_grow"):
        ids += [site.effect.delay(journal, f"{step} {len(ids)} {number}").id for number in range(30)]
        # Celery shrinks no pool all of whose processes run a task in that moment: it is asked again.
        wait_for(lambda: "ok" in _ask(site, worker, step), 30, worker.tail)  # noqa: B023
    site.wait_ended(ids)
    assert set(counts(journal).values()) == {1}


ENDS: list[tuple[Pool, signal.Signals]] = [*((pool, signal.SIGQUIT) for pool in POOLS), ("threads", signal.SIGINT)]


@pytest.mark.parametrize(("pool", "number"), ENDS)
def test_a_cold_shutdown_leaves_what_ran_to_another(site: Site, pool: Pool, number: signal.Signals) -> None:
    """Ended on purpose, a run is no crash: three of those would bury a task."""
    journal, gate = site.file(), site.file("gate")
    width = 1 if pool == "solo" else 2
    ids = [site.hold.delay(journal, gate, str(line)).id for line in range(width)]
    for attempt in range(4):
        worker = site.worker(pool, concurrency=width)
        wait_for(lambda: len(lines(journal)) == width * (attempt + 1), 30, worker.tail)  # noqa: B023
        os.kill(worker.pid, number)
        if number == signal.SIGINT:  # the first asks, the second insists
            wait_for(lambda: "Warm shutdown" in worker.log())  # noqa: B023
            os.kill(worker.pid, number)
        worker.wait()
        worker.close()
    open_gate(gate)
    site.worker(pool, concurrency=width)
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert site.letters() == []
    assert [attempt for task_id in ids for attempt in site.attempts(task_id)] == []


def test_an_id_of_ones_own_runs_once_while_it_lives_and_again_when_it_is_over(site: Site) -> None:
    journal = site.file()
    first = site.effect.apply_async((journal, "first"), task_id="mine")
    site.effect.apply_async((journal, "second"), task_id="mine")
    site.worker("solo")
    assert first.get(timeout=30) == "first"
    site.wait_ended(["mine"])
    again = site.effect.apply_async((journal, "again"), task_id="mine")
    wait_line(journal, "again")
    record = site.wait_ended(["mine"])["mine"]
    assert again.get(timeout=30) == "again"
    assert (record.generation, record.state) == (1, states.SUCCESS)
    assert lines(journal) == ["first", "again"]


def test_forgotten_results_are_gone(site: Site) -> None:
    site.worker("solo")
    result = site.add.delay(1, 1)
    assert result.get(timeout=30) == 2
    result.forget()
    assert site.record(result.id) is None


def test_results_expire_and_what_runs_does_not(site: Site) -> None:
    short = Site(site.folder, result_expires=1)
    journal, gate = site.file(), site.file("gate")
    short.worker("threads", concurrency=2)
    held = short.hold.delay(journal, gate, "a")
    done = short.add.delay(1, 1)
    assert done.get(timeout=30) == 2
    wait_for(lambda: short.record(done.id) is None, 30)
    open_gate(gate)
    assert held.get(timeout=30) == "a"
    short.close()


def test_a_stop_that_reaches_every_process_is_no_crash(site: Site) -> None:
    """As systemd's and a terminal's do; three crashes would bury what ran."""
    journal, gate = site.file(), site.file("gate")
    result = site.hold.delay(journal, gate, "a")
    for attempt in range(4):
        worker = site.worker("prefork", concurrency=1)
        wait_for(lambda: len(lines(journal)) == attempt + 1, 30, worker.tail)  # noqa: B023
        for pid in [worker.pid, *worker.children()]:
            os.kill(pid, signal.SIGTERM)
        worker.wait()
        worker.close()
    open_gate(gate)
    site.worker("prefork", concurrency=1)
    assert result.get(timeout=30) == "a"
    assert "crashed" not in {attempt.outcome for attempt in site.attempts(result.id)}


def test_a_lost_process_is_noticed_at_once(site: Site) -> None:
    """Celery looks every five seconds."""
    journal = site.file()
    site.worker("prefork", concurrency=1)
    assert site.die_at_first.delay(journal, 2).get(timeout=patient(8)) == "lives"
    assert lines(journal) == ["die", "die", "live"]


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_long_task_holds_up_neither_a_dead_workers_nor_new_ones(site: Site, pool: Pool) -> None:
    journal, gate = site.file(), site.file("gate")
    dying = site.worker("solo")
    lost = site.hold.delay(journal, gate, "lost")
    wait_line(journal, "begin lost")
    site.worker(pool, concurrency=2)
    long = site.hold.delay(journal, gate, "long")
    wait_line(journal, "begin long")
    dying.kill()
    wait_for(lambda: counts(journal)["begin lost"] == 2, 30)
    open_gate(gate)
    assert (lost.get(timeout=30), long.get(timeout=30)) == ("lost", "long")
    assert counts(journal)["begin long"] == 1
