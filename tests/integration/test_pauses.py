"""Paused queues and tasks: real workers on every broker, killed too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.keeping import SITES, Keep
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for

PATIENCE = 60


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path))


def queue_of(site: Site) -> str:
    return str(site.app.conf.task_default_queue)


def held(site: Site) -> int:
    return sum(size.extra.get("paused", 0) for size in site.queues().values())


def test_a_paused_task_is_held_through_restarts_and_what_runs_goes_on(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    worker = site.worker("threads", concurrency=2)
    running = site.hold.delay(journal, gate, "running")
    wait_line(journal, "begin running")
    assert site.app.pauses.pause(task="effect", note="the mail server is down")
    sent = [site.effect.delay(journal, f"effect {number}") for number in range(5)]
    sent.append(site.effect.apply_async((journal, "effect later"), countdown=0.5))
    other = site.add.delay(1, 2)
    assert other.get(timeout=PATIENCE) == 3
    wait_for(lambda: held(site) == 6, PATIENCE, lambda: f"{site.queues()} {lines(journal)}")
    open_gate(gate)
    assert running.get(timeout=PATIENCE) == "running"
    worker.kill()
    site.worker("solo")
    assert site.add.delay(2, 3).get(timeout=PATIENCE) == 5
    assert held(site) == 6
    assert [line for line in lines(journal) if line.startswith("effect")] == []
    assert site.app.pauses.resume(task="effect")
    site.wait_ended([result.id for result in sent])
    assert {counts(journal)[f"effect {name}"] for name in (*range(5), "later")} == {1}


def test_a_paused_queue_waits_and_goes_on(site: Site) -> None:
    journal = site.file()
    assert site.app.pauses.pause(queue=queue_of(site))
    sent = [site.effect.delay(journal, f"{number}") for number in range(5)]
    worker = site.worker("threads", concurrency=2)
    # It is there, and consumes what is not paused.
    wait_for(lambda: bool(site.app.control.ping(timeout=1)), PATIENCE, "no worker answers")
    assert lines(journal) == []
    assert site.app.pauses.resume(queue=queue_of(site))
    site.wait_ended([result.id for result in sent])
    assert set(counts(journal).values()) == {1}
    wait_for(lambda: "nothing is paused any more" in worker.log(), PATIENCE, worker.tail)
    # And again, while the worker runs.
    assert site.app.pauses.pause(queue=queue_of(site))
    known = f"paused now: queue {queue_of(site)}"
    wait_for(lambda: worker.log().count(known) == 2, PATIENCE, worker.tail)
    again = [site.effect.delay(journal, f"again {number}") for number in range(5)]
    wait_for(lambda: bool(site.app.control.ping(timeout=1)), PATIENCE, "no worker answers")
    assert len(lines(journal)) == 5
    assert site.app.pauses.resume(queue=queue_of(site))
    site.wait_ended([result.id for result in again])
    assert set(counts(journal).values()) == {1}


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_a_worker_has_and_has_not_begun_is_put_back(tmp_path: Path, pool: str) -> None:
    site = Site(tmp_path, worker_prefetch_multiplier=8)
    try:
        worker = site.worker(pool, concurrency=1)  # type: ignore[arg-type]
        journal, gate = site.file(), site.file("gate")
        running = site.hold.delay(journal, gate, "running")
        wait_line(journal, "begin running")
        sent = [site.effect.delay(journal, f"{number}") for number in range(3)]
        if pool != "solo":  # its loop runs the task itself
            wait_for(lambda: site.queues()["celery"].claimed == 4, PATIENCE, lambda: str(site.queues()))
        assert site.app.pauses.pause(task="effect")
        wait_for(lambda: "paused now: task effect" in worker.log(), PATIENCE, worker.tail)
        open_gate(gate)
        assert running.get(timeout=PATIENCE) == "running"
        wait_for(lambda: held(site) == 3, PATIENCE, lambda: f"{site.queues()} {lines(journal)}")
        assert site.app.pauses.resume(task="effect")
        site.wait_ended([result.id for result in sent])
        assert all(counts(journal)[f"{number}"] == 1 for number in range(3))
    finally:
        site.close()


def test_what_waits_is_revoked_by_its_arguments(site: Site) -> None:
    if getattr(site, "broker", "").startswith("amqp"):
        pytest.skip("what was published to RabbitMQ directly is not in the ledger before a worker has it")
    journal = site.file()
    site.app.pauses.pause(queue=queue_of(site))
    sent = [site.effect.delay(journal, f"{number}") for number in range(10)]
    kept = site.add.delay(1, 2)
    revoked = [task_id for some in site.app.waiting.revoke(task="eff*", argument="line=3") for task_id in some]
    revoked += [task_id for some in site.app.waiting.revoke(argument="'7'") for task_id in some]
    assert revoked == [sent[3].id, sent[7].id]
    assert list(site.app.waiting.find(argument="line=3")) == []
    site.app.pauses.resume(queue=queue_of(site))
    site.worker("threads", concurrency=2)
    ended = site.wait_ended([kept.id, *(result.id for result in sent)])
    assert {task_id for task_id, record in ended.items() if record.state == "REVOKED"} == set(revoked)
    assert counts(journal).keys() == {f"{number}" for number in range(10)} - {"3", "7"}
