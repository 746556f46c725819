"""A worker dies at every point where it hurts; whatever it was doing ends once, somewhere."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from celery import chain, chord, states

from tests.integration.breaking import POINTS
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.worker import Pool

BESIDE = ["adopted", "relayed"]
WHOLE_WORKER = [name for name, point in POINTS.items() if not point.alone and name not in BESIDE]
ONE_CHILD = [name for name, point in POINTS.items() if point.alone]
TASKS = 40


class Workload:
    """Effects, a chain and a chord; each effect is counted."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.journal = site.file()
        self.lines = [f"task {number}" for number in range(TASKS)]
        self.effects = [site.effect.delay(self.journal, line).id for line in self.lines]
        # Each step adds one effect, and starts only because the one before it has settled.
        steps = [site.effect.si(self.journal, f"step {number}") for number in range(3)]
        self.chain = chain(*steps).delay()
        header = [site.effect.si(self.journal, f"member {number}") for number in range(6)]
        self.chord = chord(header, site.effect_after.s(self.journal, "body")).delay()
        members = [result.id for result in self.chord.parent.results]
        steps_ids = [self.chain.id, self.chain.parent.id, self.chain.parent.parent.id]
        self.ids = [*self.effects, *steps_ids, *members, self.chord.id]
        self.lines += [*(f"step {n}" for n in range(3)), *(f"member {n}" for n in range(6)), "body"]

    def check(self, before: Sequence[str], settled: set[str]) -> None:
        """All succeeded; nothing was lost; what had settled at the time of the death was not done again."""
        records = self.site.wait_ended(self.ids)
        assert {record.state for record in records.values()} == {states.SUCCESS}
        assert {record.generation for record in records.values()} == {0}
        assert set(counts(self.journal)) == set(self.lines)
        again = lines(self.journal)[len(before) :]
        assert [line for line in again if line in settled] == []
        assert self.site.letters() == []

    def settled(self) -> set[str]:
        """The effects of the tasks that have ended by now."""
        by_line = {self.site.app.AsyncResult(task_id).result for task_id in self.site.ended(self.ids)}
        return {str(line) for line in by_line} | ({"body"} if self.chord.id in self.site.ended(self.ids) else set())


def _pools(points: Sequence[str], pools: Sequence[Pool]) -> list[tuple[str, Pool]]:
    return [(point, pool) for point in points for pool in pools]


@pytest.mark.parametrize(
    ("point", "pool"),
    [*_pools(WHOLE_WORKER, ["prefork", "solo"]), *_pools(["in-transaction", "settled"], ["threads", "gevent"])],
)
def test_a_worker_dies(site: Site, point: str, pool: Pool) -> None:
    work = Workload(site)
    worker = site.worker(pool, wait=False, concurrency=1 if pool == "solo" else 2, break_at=point)
    worker.wait()
    worker.close()
    before, settled = lines(work.journal), work.settled()
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    work.check(before, settled)


@pytest.mark.parametrize("point", ONE_CHILD)
def test_a_pool_process_dies_and_the_worker_goes_on(site: Site, point: str) -> None:
    work = Workload(site)
    worker = site.worker("prefork", concurrency=2, break_at=point)
    site.wait_ended(work.ids)
    # While it settles in the background it runs no task, so there is none to blame.
    assert "died (crash 1 of 3)" in worker.log() or point in ("child-settling", "child-settled")
    work.check([], set())
    repeats = sum(counts(work.journal).values()) - len(work.lines)
    # Only what the dead process had done and not settled, a group commit at most.
    assert repeats <= 16
    assert worker.running


def test_killed_while_messages_wait(site: Site) -> None:
    """Before any claim: what is delayed, too, is there for the next worker."""
    worker = site.worker("prefork", concurrency=2)
    journal = site.file()
    delayed = site.effect.apply_async((journal, "delayed"), countdown=1.5).id
    worker.kill()
    waiting = site.effect.delay(journal, "waiting").id
    site.worker("prefork", concurrency=2)
    site.wait_ended([delayed, waiting])
    assert sorted(lines(journal)) == ["delayed", "waiting"]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_killed_inside_bodies(site: Site, pool: Pool) -> None:
    """Another worker takes over what ran; it ran twice, settled once, and counts as crashed once."""
    slots = 1 if pool == "solo" else 3
    journal, gate = site.file(), site.file("gate")
    ids = [site.hold.delay(journal, gate, str(number)).id for number in range(6)]
    doomed = site.worker(pool, concurrency=slots)
    wait_for(lambda: len(lines(journal)) == slots)
    running = {line.removeprefix("begin ") for line in lines(journal)}
    wait_for(lambda: _started(site, ids) == slots)
    doomed.kill()
    open_gate(gate)
    heir = site.worker(pool, concurrency=slots)
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert {record.worker for record in records.values()} == {heir.nodename}
    seen = counts(journal)
    assert {number: seen[f"begin {number}"] for number in map(str, range(6))} == {
        number: 2 if number in running else 1 for number in map(str, range(6))
    }
    assert all(seen[f"end {number}"] == 1 for number in range(6))
    crashed = [attempt.outcome for task_id in ids for attempt in site.attempts(task_id)]
    assert crashed == ["crashed"] * slots


def _started(site: Site, ids: Sequence[str]) -> int:
    return sum(record.state == states.STARTED for record in site.store.records(ids).values())


def test_a_pool_process_killed_inside_a_body(site: Site) -> None:
    """Its task runs again at once; the neighbours' runs are not touched."""
    journal, gate = site.file(), site.file("gate")
    worker = site.worker("prefork", concurrency=3)
    ids = [site.hold_with_pid.delay(journal, gate, str(number)).id for number in range(3)]
    wait_for(lambda: len(lines(journal)) == 3)
    victim, pid = lines(journal)[0].split()
    worker.kill_child(int(pid))
    # No lease has to run out: the parent saw it die.
    wait_for(lambda: sum(line.startswith(f"{victim} ") for line in lines(journal)) == 2)
    open_gate(gate)
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert len(lines(journal)) == 4
    assert [attempt.outcome for attempt in site.attempts(ids[int(victim)])] == ["crashed"]
    assert worker.running


def test_the_parent_alone_is_killed(site: Site) -> None:
    """Its orphaned processes may go on for a moment; each task still ends once."""
    journal, gate = site.file(), site.file("gate")
    ids = [site.hold.delay(journal, gate, str(number)).id for number in range(4)]
    doomed = site.worker("prefork", concurrency=2)
    wait_for(lambda: len(lines(journal)) == 2)
    doomed.kill_parent()
    site.worker("prefork", concurrency=2)
    open_gate(gate)
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    wait_for(lambda: not doomed.children() and not doomed.processes(), 30, "orphans stay")
    assert len(site.ended(ids)) == 4


def test_a_living_worker_takes_over_without_a_restart(site: Site) -> None:
    """Within a lease and a sweep; nobody has to come back for it."""
    journal, gate = site.file(), site.file("gate")
    doomed = site.worker("solo")
    result = site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    # The lease is what the settings say, so that the wait below measures it.
    (until,) = site.leases()
    assert until - site.store.lease_now() <= 1.5
    living = site.worker("solo")
    doomed.kill()
    open_gate(gate)
    assert site.wait_ended([result.id], 1.5 + 2 * 0.3 + 10)[result.id].worker == living.nodename
    assert counts(journal) == {"begin a": 2, "end a": 1}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_stopped_worker_settles_nothing(site: Site, pool: Pool) -> None:
    """Stopped for longer than its lease, it wakes as a zombie whose work is another's."""
    journal, gate, follower = site.file(), site.file("gate"), site.file("follower")
    zombie = site.worker(pool)
    result = site.hold.apply_async((journal, gate, "a"), link=site.effect_of.s(follower))
    wait_for(lambda: site.state(result.id) == states.STARTED)
    zombie.stop()
    heir = site.worker(pool)
    wait_for(lambda: counts(journal)["begin a"] == 2)
    # Both have begun; now the zombie alone ends.
    heir.stop()
    open_gate(gate)
    zombie.cont()
    wait_for(lambda: "its lease was lost meanwhile" in zombie.log(), 30, zombie.tail)
    assert counts(journal)["end a"] == 1
    assert site.ended([result.id]) == {}
    heir.cont()
    assert site.wait_ended([result.id])[result.id].worker == heir.nodename
    wait_line(follower, "a")
    assert (counts(journal)["end a"], lines(follower)) == (2, ["a"])


@pytest.mark.parametrize("send", [False, True], ids=["announced", "sent"])
def test_a_chord_that_grew_in_a_run_that_died_is_complete(site: Site, send: bool) -> None:
    """A member that was announced and never sent is none; one that was sent is one, and the next run sends another."""
    journal = site.file()
    site.worker("prefork", concurrency=2)
    result = chord([site.grow_and_die.s(journal, 1, send), site.add.s(1, 1)], site.collect.s()).delay()
    assert sorted(result.get(timeout=60)) == ([1, 2, 20, 20] if send else [1, 2, 20])
    assert lines(journal) == ["run", "run"]


def test_a_member_announced_and_sent_by_nobody_here_is_counted_when_the_run_ends(site: Site) -> None:
    site.worker("prefork", concurrency=2)
    result = chord([site.grow.s(1, lazy=False), site.add.s(1, 1)], site.collect.s()).delay()
    assert sorted(result.get(timeout=60)) == [1, 2, 20]
    lazy = chord([site.grow.s(1, lazy=True), site.add.s(1, 1)], site.collect.s()).delay()
    site.wait_ended([member.id for member in lazy.parent.results])
    body, parts = site.store.chord_parts(lazy.parent.id)
    assert body is not None  # it waits for the third
    assert len(parts) == 2
