"""A task that takes its process down is buried, and its neighbours live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chord, states
from celery.exceptions import ChordError

from celeriac.errors import PoisonTask
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import Worker, wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool

INNOCENTS = 50


def _check_buried(site: Site, poison: str, journal: str, crashes: int) -> None:
    letter = site.letter(poison)
    assert (letter.reason, letter.error_type) == ("poison", "celeriac.errors.PoisonTask")
    assert counts(journal)["die"] == crashes
    assert {attempt.worker for attempt in letter.attempts} <= {worker.nodename for worker in site.workers}
    assert [attempt.outcome for attempt in letter.attempts if attempt.outcome == "crashed"] == ["crashed"] * 3
    with pytest.raises(PoisonTask, match="3 times"):
        site.app.AsyncResult(poison).get(timeout=10)


def _send_among_innocents(site: Site, journal: str, harmless: str) -> tuple[str, list[str]]:
    before = [site.effect.delay(harmless, f"before {number}").id for number in range(INNOCENTS // 2)]
    poison = site.die.delay(journal).id
    after = [site.effect.delay(harmless, f"after {number}").id for number in range(INNOCENTS // 2)]
    return poison, [*before, *after]


def test_a_poison_task_in_a_pool_of_processes(site: Site) -> None:
    """The parent sees each crash: exactly three, and the worker itself goes on."""
    journal, harmless = site.file(), site.file()
    worker = site.worker("prefork", concurrency=2)
    poison, innocents = _send_among_innocents(site, journal, harmless)
    records = site.wait_ended([poison, *innocents], 90)
    assert {records[task_id].state for task_id in innocents} == {states.SUCCESS}
    assert len(set(lines(harmless))) == INNOCENTS
    # What the first crash took with it: a group that was being written, and one that gathered meanwhile.
    assert len(lines(harmless)) <= INNOCENTS + 2 * 16
    assert records[poison].state == states.FAILURE
    _check_buried(site, poison, journal, 3)
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert worker.running


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_a_poison_task_that_takes_the_worker_with_it(site: Site, pool: Pool) -> None:
    """Whoever starts the worker again and again sees it live in the end."""
    journal, harmless = site.file(), site.file()
    poison, innocents = _send_among_innocents(site, journal, harmless)
    for worker in _restarted(site, pool):
        if len(site.ended([poison, *innocents])) == 1 + INNOCENTS:
            break
        _wait_for_the_worker_or_the_work(site, worker, [poison, *innocents])
    records = site.wait_ended([poison, *innocents])
    assert {records[task_id].state for task_id in innocents} == {states.SUCCESS}
    assert set(counts(harmless)) == {f"{when} {number}" for when in ("before", "after") for number in range(25)}
    # A first death that came before the started mark is not held against it.
    _check_buried(site, poison, journal, counts(journal)["die"])
    assert counts(journal)["die"] in (3, 4)
    assert site.workers[-1].running


def _wait_for_the_worker_or_the_work(site: Site, worker: Worker, ids: list[str]) -> None:
    wait_for(lambda: not worker.running or len(site.ended(ids)) == len(ids), 60)


def _restarted(site: Site, pool: Pool, concurrency: int = 2) -> Iterator[Worker]:
    """A worker, and another whenever it has died; not for ever."""
    for _ in range(8):
        if not (site.workers and site.workers[-1].running):
            # It may die before it says that it is ready.
            site.worker(pool, concurrency=1 if pool == "solo" else concurrency, wait=False)
        yield site.workers[-1]


def test_a_task_that_crashes_twice_is_not_buried(site: Site) -> None:
    journal = site.file()
    site.worker("prefork")
    result = site.die_at_first.delay(journal, 2)
    assert result.get(timeout=60) == "lives"
    assert lines(journal) == ["die", "die", "live"]
    assert [attempt.outcome for attempt in site.attempts(result.id)] == ["crashed", "crashed"]
    assert site.letters() == []


def test_a_buried_member_fails_its_chord_and_tells_its_errback(site: Site) -> None:
    journal, told = site.file(), site.file()
    site.worker("prefork", concurrency=2)
    member = site.die.s(journal).on_error(site.on_error_by_id.s(journal=told))
    result = chord([member, site.add.s(1, 1)], site.collect.s()).delay()
    body = site.app.AsyncResult(result.id)  # one that knows no members, so that theirs is not raised in its place
    with pytest.raises(ChordError, match="PoisonTask"):
        body.get(timeout=60)
    wait_line(told, f"error {result.parent.results[0].id}")
    assert len(lines(told)) == 1


def test_neighbours_go_on_while_something_long_runs(site: Site) -> None:
    """A last chance needs a process of its own, and not a worker that has come to rest."""
    journal, gate, harmless = site.file(), site.file("gate"), site.file()
    site.worker("prefork", concurrency=3)
    long = site.hold.delay(journal, gate, "long")
    wait_line(journal, "begin long")
    died = site.file()
    poison = site.die.delay(died)
    neighbours = [site.effect.delay(harmless, str(number)).id for number in range(20)]
    wait_for(lambda: len(site.ended([poison.id, *neighbours])) == 1 + len(neighbours), 60)
    assert site.state(long.id) == states.STARTED
    assert sorted(set(lines(harmless)), key=int) == [str(number) for number in range(20)]
    _check_buried(site, poison.id, died, 3)
    open_gate(gate)
    assert long.get(timeout=30) == "long"


@pytest.mark.parametrize("crashes", [2, 3])
def test_who_ran_beside_poison_lives_whatever_the_limit(
    tmp_path: Path, request: pytest.FixtureRequest, crashes: int
) -> None:
    """All of them are counted when the worker dies; each then has a run that it shares with nobody."""
    site = Site(tmp_path, celeriac_max_crashes=crashes)
    request.node.stash[PROGRAMS] = site.workers
    try:
        journal, harmless = site.file(), site.file()
        poison = site.die_slowly.delay(journal, 0.4).id
        beside = [site.slowly.delay(harmless, str(number), 0.7).id for number in range(3)]
        for worker in _restarted(site, "threads", concurrency=4):
            _wait_for_the_worker_or_the_work(site, worker, [poison, *beside])
            if len(site.ended([poison, *beside])) == 4:
                break
        site.wait_ended([poison, *beside])
        assert [letter.task_id for letter in site.letters()] == [poison]
        assert set(lines(harmless)) == {"0", "1", "2"}
    finally:
        site.close()
