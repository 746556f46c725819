"""What only a pool of processes does: time limits, memory that is shared, and a next job that lies ready."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, states
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from celeriac.errors import PoisonTask
from tests.integration.breaking import LINGERING
from tests.integration.keeping import Keep
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.plugin import PROGRAMS


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("prefork"))
    site.worker("prefork", concurrency=2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    request.node.stash[PROGRAMS] = shared_site.workers
    return shared_site


def test_a_soft_time_limit_is_raised_in_the_body(site: Site) -> None:
    assert site.soft_limited.delay().get(timeout=30) == "stopped softly"


def test_a_soft_time_limit_cancels_a_coroutine(site: Site) -> None:
    journal = site.file()
    result = site.soft_limited_later.delay(journal)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=30)
    wait_line(journal, "cancelled")
    letter = site.letter(result.id)
    assert letter.error_type.endswith("SoftTimeLimitExceeded")
    assert (letter.reason, letter.error) == ("time-limit", "the soft time limit of 0.5 s was exceeded")


def test_a_hard_time_limit_is_a_dead_letter_after_one_run(site: Site) -> None:
    journal = site.file()
    result = site.hard_limited.delay(journal)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=30)
    record = site.wait_ended([result.id])[result.id]
    assert record.state == states.FAILURE
    assert lines(journal) == ["run"]
    assert site.letter(result.id).reason == "time-limit"
    assert site.add.delay(1, 1).get(timeout=30) == 2


def test_a_hard_time_limit_tells_the_errback_and_stops_the_chain(site: Site) -> None:
    journal, told = site.file(), site.file("told")
    first = site.hard_limited.s(journal).on_error(site.on_error_by_id.s(journal=told))
    result = chain(first, site.effect.si(journal, "after")).delay()
    wait_line(told, f"error {result.parent.id}")
    site.wait_ended([result.parent.id])
    assert lines(journal) == ["run"]
    assert len(lines(told)) == 1


def test_a_limit_of_one_call_is_enforced(site: Site) -> None:
    """Though the app's own soft limit is far longer."""
    journal = site.file()
    result = site.hold.apply_async((journal, site.file("gate"), "a"), time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=30)
    assert site.letter(result.id).reason == "time-limit"


def test_a_limit_of_the_app_or_the_command_line_is_enforced(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = Site(tmp_path, task_time_limit=1)
    request.node.stash[PROGRAMS] = site.workers
    with site.working("prefork"):
        journal, gate = site.file(), site.file("gate")
        with pytest.raises(TimeLimitExceeded):
            site.hold.delay(journal, gate, "a").get(timeout=30)
    site.close()
    other = Site(tmp_path, task_time_limit=3600)
    with other.working("prefork", arguments=["--soft-time-limit", "0.5"]):
        with pytest.raises(SoftTimeLimitExceeded):
            other.hold.delay(journal, gate, "a").get(timeout=30)
        assert other.soft_limited.delay().get(timeout=30) == "stopped softly"
    other.close()


def test_what_is_loaded_before_the_fork_stays_shared(site: Site) -> None:
    """A collection in a child would write to, and so copy, every page with objects."""
    assert site.frozen.delay().get(timeout=30) > 10_000


#: So many short tasks that each process has its next one ready before long.
MANY = 200


@pytest.fixture
def own_site(tmp_path: Path, keep: Keep) -> Site:
    return keep(Site(tmp_path))


def _short_ones(site: Site, journal: str, name: str) -> list[str]:
    return [site.effect.delay(journal, f"{name}-{number}").id for number in range(MANY)]


def test_nothing_waits_behind_a_long_task_while_a_process_is_free(own_site: Site) -> None:
    """What lay ready behind it goes to the process that has nothing to do."""
    site = own_site
    journal, gate = site.file(), site.file("gate")
    short: list[str] = []
    for round_ in range(3):
        short += _short_ones(site, journal, f"before-{round_}")
    held = site.hold.delay(journal, gate, "long")
    short += _short_ones(site, journal, "after")
    site.worker("prefork", concurrency=2)
    wait_for(lambda: len(site.ended(short)) == len(short), 60, lambda: f"{len(site.ended(short))} have ended")
    assert site.state(held.id) == states.STARTED
    open_gate(gate)
    site.wait_ended([held.id])
    assert set(counts(journal).values()) == {1}


def test_processes_that_linger_get_each_job_once(own_site: Site) -> None:
    """What lies ready is still in the pipe when its parent has heard of the end of the job before it.

    In bursts: at the end of each, who has nothing left takes what lies behind the others' jobs.
    """
    site = own_site
    journal = site.file()
    site.worker("prefork", concurrency=3, break_at=LINGERING)
    for burst in range(30):
        ids = [site.effect.delay(journal, f"{burst}-{number}").id for number in range(20 + burst % 7)]
        site.wait_ended(ids, 30)
    assert set(counts(journal).values()) == {1}
    assert site.letters() == []


def test_what_lies_behind_a_long_task_can_still_be_revoked(own_site: Site) -> None:
    site = own_site
    journal, gate = site.file(), site.file("gate")
    _short_ones(site, journal, "short")
    held = site.hold.delay(journal, gate, "long")
    behind = [site.effect.delay(journal, f"behind-{number}") for number in range(3)]
    worker = site.worker("prefork", concurrency=1)
    wait_line(journal, "begin long")
    for result in behind:
        site.app.control.revoke(result.id)
    wait_for(lambda: worker.log().count("flagged as revoked") == len(behind), 30, worker.tail)
    open_gate(gate)
    records = site.wait_ended([held.id, *(result.id for result in behind)])
    assert [records[result.id].state for result in behind] == [states.REVOKED] * len(behind)
    assert not [line for line in lines(journal) if line.startswith("behind")]


def test_what_lies_behind_a_long_task_still_expires(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # With a short lease it would be handed back before it expires.
    with contextlib.closing(Site(tmp_path, celeriac_lease_seconds=30, celeriac_renew_seconds=10)) as site:
        request.node.stash[PROGRAMS] = site.workers
        journal, gate = site.file(), site.file("gate")
        _short_ones(site, journal, "short")
        site.hold.delay(journal, gate, "long")
        behind = [site.effect.apply_async((journal, f"behind-{number}"), expires=3) for number in range(3)]
        site.worker("prefork", concurrency=1)
        wait_line(journal, "begin long")
        gone = time.time() + 3.1
        wait_for(lambda: time.time() > gone)
        open_gate(gate)
        records = site.wait_ended([result.id for result in behind])
        assert {record.state for record in records.values()} == {states.REVOKED}
        assert not [line for line in lines(journal) if line.startswith("behind")]


def test_what_lies_behind_a_task_that_kills_its_process_is_not_to_blame(own_site: Site) -> None:
    site = own_site
    journal = site.file()
    short = _short_ones(site, journal, "before")
    killer = site.die_at_first.delay(site.file("deaths"), 1)
    short += _short_ones(site, journal, "after")
    site.worker("prefork", concurrency=1)
    site.wait_ended([killer.id, *short])
    assert [attempt.outcome for attempt in site.attempts(killer.id)] == ["crashed"]
    assert [attempt for task_id in short for attempt in site.attempts(task_id)] == []
    # What ended just before it may run again: its end was not written yet.
    assert {line: number for line, number in counts(journal).items() if line.startswith("after") and number > 1} == {}


@pytest.mark.parametrize("size", [10, 3_900, 4_050, 4_100, 70_000, 3_000_000])
def test_arguments_of_any_size_arrive(site: Site, size: int) -> None:
    """A pipe takes 4 KiB in one piece, and holds 64 KiB."""
    texts = [f"{number}{'ä' * size}" for number in range(3)]
    results = [site.collect.delay(text) for text in texts]
    assert [result.get(timeout=60) for result in results] == texts


def test_a_running_task_is_seen_and_its_start_is_told(own_site: Site) -> None:
    """A process sends no word of what it begins."""
    site = own_site
    journal, gate = site.file(), site.file("gate")
    worker = site.worker("prefork", concurrency=2, arguments=["-E"])
    heard: list[str] = []
    with site.app.connection() as connection:
        receiver = site.app.events.Receiver(
            connection, handlers={"task-started": lambda event: heard.append(event["uuid"])}
        )
        # From now on to the end: what is sent between two times of listening is for nobody.
        with receiver.consumer_context() as (listening, _channel, _consumers):
            results = [site.hold.delay(journal, gate, f"{number}") for number in range(2)]
            ids = {result.id for result in results}

            def told() -> bool:
                with contextlib.suppress(TimeoutError):
                    listening.drain_events(timeout=0.2)
                return set(heard) == ids

            wait_for(told, 30, lambda: f"heard of {heard}")
    active = site.app.control.inspect([worker.nodename], timeout=10).active()
    assert {task["id"] for task in active[worker.nodename]} == ids
    assert all(task["worker_pid"] in worker.children() for task in active[worker.nodename])
    open_gate(gate)
    site.wait_ended(list(ids))


def test_a_task_that_is_ended_takes_no_other_with_it(own_site: Site) -> None:
    """The order to end one arrives when it has ended, and its process runs the one that lay ready."""
    site = own_site
    journal = site.file()
    results = [site.take.delay(journal, f"{number}", 0.003) for number in range(400)]
    site.worker("prefork", concurrency=2)
    chosen: set[int] = set()

    def all_but_over() -> bool:
        begun = [int(line.split()[1]) for line in lines(journal) if line.startswith("begin")]
        if begun and begun[-1] not in chosen and len(chosen) < 40:  # each costs the pool a process
            chosen.add(begun[-1])
            results[begun[-1]].revoke(terminate=True)
        return len(begun) > 380

    wait_for(all_but_over, 60, interval=0.005)
    records = site.wait_ended([result.id for result in results])
    others = {records[result.id].state for number, result in enumerate(results) if number not in chosen}
    assert others == {states.SUCCESS}
    assert chosen


@pytest.mark.parametrize("seconds", [0.004, 0.02])
def test_a_warm_shutdown_waits_for_what_runs_and_no_longer(own_site: Site, seconds: float) -> None:
    """Billiard's processes wait half a minute for whoever reads what they said last."""
    site = own_site
    for _ in range(3):
        journal = site.file()
        for number in range(100):
            site.take.delay(journal, f"{number}", seconds)
        worker = site.worker("prefork", concurrency=2)
        wait_for(lambda: len(lines(journal)) > 10)  # noqa: B023
        assert worker.terminate(timeout=15) == 0
        noted = counts(journal)
        assert {line.split()[1] for line in noted if line.startswith("begin")} == {
            line.split()[1] for line in noted if line.startswith("end")
        }


def test_a_process_that_dies_is_noticed_at_once(own_site: Site) -> None:
    """Celery looks when the process is about to end, which may be too early, and then every five seconds."""
    site = own_site
    worker = site.worker("prefork", concurrency=2)
    for deaths in range(1, 9):
        worker.kill_child()
        wait_for(lambda: worker.log().count("exited with 'signal 9") == deaths, 3, worker.tail)  # noqa: B023
        wait_for(lambda: len(worker.children()) == 2)


def test_forks_do_not_make_it_deaf(own_site: Site) -> None:
    """Each closes what the kernel tells of the store, and opens it again."""
    site = own_site
    worker = site.worker("prefork", concurrency=2, arguments=["--max-tasks-per-child=2"])
    site.wait_ended([site.add.delay(number, 1).id for number in range(30)])
    for number in range(10):
        assert site.add.delay(number, 1).get(timeout=30) == number + 1
    assert "no events come" not in worker.log()


def test_processes_may_be_spawned(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """They share no memory with their parent, so Celery's own pool runs them.

    Those of this app know none of its tasks, and so cannot even bury one: its parent does.
    """
    site = Site(tmp_path, worker_pool_start_method="spawn")
    request.node.stash[PROGRAMS] = site.workers
    worker = site.worker("prefork", concurrency=2)
    stats = site.app.control.inspect([worker.nodename], timeout=10).stats()
    assert stats[worker.nodename]["pool"]["implementation"] == "celery.concurrency.prefork:TaskPool"
    result = site.add.delay(1, 1)
    with pytest.raises(PoisonTask, match="3 times"):
        result.get(timeout=60)
    assert site.letter(result.id).reason == "poison"
    site.close()
