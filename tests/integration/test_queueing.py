"""What waits: in which order, until when, in whose hands, and how it is called off."""

from __future__ import annotations

import random
import time
import uuid
from datetime import datetime, timezone

import pytest
from celery import chord, states

from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.worker import Pool


def test_the_higher_priority_goes_first(site: Site) -> None:
    journal = site.file()
    priorities = [*range(10), *range(10)]
    random.Random(7).shuffle(priorities)
    ids = [site.effect.apply_async((journal, str(number)), priority=number).id for number in priorities]
    site.worker("solo")
    site.wait_ended(ids)
    assert lines(journal) == [str(number) for number in sorted(priorities, reverse=True)]


def test_equal_priorities_keep_their_order(site: Site) -> None:
    journal = site.file()
    ids = [site.effect.delay(journal, str(number)).id for number in range(30)]
    site.worker("solo")
    site.wait_ended(ids)
    assert lines(journal) == [str(number) for number in range(30)]


def test_a_tasks_id_tells_its_place_in_the_store(site: Site) -> None:
    """Ids in the order of time keep a long queue as fast as a short one."""
    before = time.time_ns() // 1_000_000
    made = [site.add.delay(1, 2).id, site.app.send_task("add", (1, 2)).id, site.keyed.delay("k", site.file()).id]
    for text in made:
        assert uuid.UUID(text).version == 7
        assert before <= uuid.UUID(text).int >> 80 <= time.time_ns() // 1_000_000
    assert site.add.apply_async((1, 2), task_id="mine").id == "mine"


def test_a_delayed_task_waits_in_the_store_and_outlives_the_worker(site: Site) -> None:
    journal = site.file()
    worker = site.worker("threads", concurrency=2)
    due = time.time() + 4
    result = site.effect.apply_async((journal, "due"), eta=datetime.fromtimestamp(due, timezone.utc))
    # A task sent later has been through: the worker has seen what there was.
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert site.app.control.inspect([worker.nodename], timeout=2).scheduled() == {worker.nodename: []}
    assert site.queues()["celery"].delayed == 1
    assert site.queues()["celery"].claimed == 0
    worker.kill()
    site.worker("solo")
    record = site.wait_ended([result.id])[result.id]
    assert record.started_at is not None
    assert record.started_at >= due
    assert lines(journal) == ["due"]


def test_a_delayed_task_overdue_at_the_start_runs_once(site: Site) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "overdue"), countdown=0.1)
    time_due = time.time() + 0.1
    wait_for(lambda: time.time() > time_due)
    site.worker("solo")
    site.wait_ended([result.id])
    assert lines(journal) == ["overdue"]


@pytest.mark.parametrize("countdown", [None, 3600], ids=["waiting", "delayed"])
def test_a_revoke_holds_though_no_worker_heard_it(site: Site, countdown: float | None) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "revoked"), countdown=countdown)
    result.revoke()
    assert result.state == states.REVOKED
    other = site.effect.delay(journal, "other")
    site.worker("threads", concurrency=2)
    site.wait_ended([result.id, other.id])
    assert lines(journal) == ["other"]
    assert site.state(result.id) == states.REVOKED
    assert site.letters() == []


def test_a_revoke_outlives_the_worker_that_heard_it(site: Site) -> None:
    journal = site.file()
    with site.working("solo") as worker:
        result = site.effect.apply_async((journal, "revoked"), countdown=3600)
        site.app.control.broadcast("revoke", {"task_id": result.id}, reply=True, destination=[worker.nodename])
    site.worker("solo")
    assert site.wait_ended([result.id])[result.id].state == states.REVOKED
    assert lines(journal) == []


def test_a_revoked_member_fails_its_chord(site: Site) -> None:
    header = [site.add.s(1, 1).set(task_id="revoked-member"), site.add.s(2, 2)]
    result = chord(header, site.collect.s()).apply_async()
    site.app.control.revoke("revoked-member")
    site.worker("threads", concurrency=2)
    with pytest.raises(Exception, match="revoked"):
        result.get(timeout=30)


def test_terminate_ends_what_runs_and_nothing_repeats_it(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    worker = site.worker("prefork", concurrency=2)
    result = site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    site.app.control.terminate(result.id, signal="SIGKILL")
    assert site.wait_ended([result.id])[result.id].state == states.REVOKED
    # Whatever took its place works.
    assert site.add.delay(1, 1).get(timeout=30) == 2
    assert lines(journal) == ["begin a"]
    assert site.letters() == []
    assert worker.running


def test_workers_take_from_their_own_queues(site: Site) -> None:
    journal = site.file()
    left = site.worker("solo", queues=["left"])
    right = site.worker("solo", queues=["right", "more"])
    ids = [
        site.effect.apply_async((journal, f"{queue} {number}"), queue=queue).id
        for queue in ("left", "right", "more", "nobody")
        for number in range(5)
    ]
    wait_for(lambda: len(site.ended(ids)) == 15)
    assert site.queues()["nobody"].ready == 5
    done_by = {(record.queue, record.worker) for record in site.ended(ids).values()}
    assert done_by == {("left", left.nodename), ("right", right.nodename), ("more", right.nodename)}


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_free_slot_takes_work_while_the_others_are_busy(site: Site, pool: Pool) -> None:
    journal, gate = site.file(), site.file("gate")
    site.worker(pool, concurrency=4)
    held = [site.hold.delay(journal, gate, str(number)).id for number in range(3)]
    wait_for(lambda: len(lines(journal)) == 3)
    assert [site.add.delay(number, 1).get(timeout=30) for number in range(5)] == [1, 2, 3, 4, 5]
    open_gate(gate)
    site.wait_ended(held)


def test_purge_drops_what_waits_and_says_so_in_the_ledger(site: Site) -> None:
    journal = site.file()
    ready = [site.effect.delay(journal, "a").id for _ in range(3)]
    delayed = site.effect.apply_async((journal, "b"), countdown=3600).id
    assert site.app.control.purge() == 4
    records = site.wait_ended([*ready, delayed])
    assert {record.state for record in records.values()} == {states.REVOKED}
    with site.working("solo"):
        assert site.add.delay(1, 1).get(timeout=30) == 2
    assert lines(journal) == []


def test_workers_meet_and_share_revokes(site: Site) -> None:
    first = site.worker("solo", quiet=False)
    site.app.control.revoke("somebody")
    inspect = site.app.control.inspect([first.nodename], timeout=5)
    wait_for(lambda: inspect.revoked() == {first.nodename: ["somebody"]})
    second = site.worker("solo", quiet=False)
    assert "mingle: sync with 1 nodes" in second.log()
    assert site.app.control.inspect([second.nodename], timeout=5).revoked() == {second.nodename: ["somebody"]}
    wait_for(lambda: set(site.app.control.inspect(timeout=2).ping() or {}) == {first.nodename, second.nodename})


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_a_rate_limit_keeps_longer_than_a_lease_runs_in_its_turn(site: Site, pool: Pool) -> None:
    """1.5 seconds apart, and the lease is no longer: the last has waited three."""
    journal = site.file()
    site.worker(pool, concurrency=1 if pool == "solo" else 4)
    ids = [site.limited_strictly.delay(journal, str(number)).id for number in range(4)]
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert sorted(lines(journal)) == ["0", "1", "2", "3"]
    begun = sorted(record.started_at or 0 for record in records.values())
    assert begun[-1] - begun[0] > 4


def test_a_rate_limit_holds_and_each_runs_once(site: Site) -> None:
    """Longer than the lease, too: what waits in the worker for its turn is neither lost nor run twice."""
    journal = site.file()
    site.worker("threads", concurrency=4)
    ids = [site.limited.delay(journal, str(number)).id for number in range(40)]
    records = site.wait_ended(ids)
    started = sorted(record.started_at or 0 for record in records.values())
    # A bucket of one token, refilled ten times a second.
    assert started[-1] - started[0] > 3
    assert counts(journal) == {str(number): 1 for number in range(40)}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_what_waits_in_a_worker_past_its_lease_runs_once(site: Site, pool: Pool) -> None:
    """Quick tasks make the worker claim many; then slow ones keep them waiting longer than a lease."""
    journal, gate = site.file(), site.file("gate")
    quick = [site.add.delay(number, 1).id for number in range(200)]
    slow = [site.hold.delay(journal, gate, "slow").id for _ in range(2)]
    behind = [site.effect.delay(journal, f"behind {number}").id for number in range(100)]
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    wait_line(journal, "begin slow")
    began = site.store.lease_now()
    wait_for(lambda: site.store.lease_now() > began + 2.5)  # past the lease of 1.5 s
    open_gate(gate)
    site.wait_ended([*quick, *slow, *behind])
    repeated = {line: count for line, count in counts(journal).items() if line.startswith("behind") and count != 1}
    assert repeated == {}
    assert counts(journal)["end slow"] == 2
