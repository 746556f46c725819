"""Tasks that are put off: real workers on every broker, in every pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import chain, chord

from tests.integration.keeping import SITES, Keep
from tests.integration.sites import BesideSite, Site, lines, open_gate
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool

PATIENCE = 60


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path))


@pytest.fixture
def sqlite(tmp_path: Path, keep: Keep) -> Site:
    return keep(Site(tmp_path))


def wait_looks(journal: str, at_least: int) -> None:
    wait_for(lambda: len(looks(journal)) >= at_least, PATIENCE, lambda: f"{lines(journal)}")


def looks(journal: str) -> list[str]:
    return [line for line in lines(journal) if line.startswith("look")]


def test_a_task_is_put_off_until_it_can_be_done(site: Site) -> None:
    """However often: its one retry is not used up, and it has no history."""
    site.worker("threads")
    journal, gate = site.file(), site.file("gate")
    sent = site.put_off.delay(journal, gate, "a")
    wait_looks(journal, 3)
    waiting = site.record(sent.id)
    assert waiting is not None
    assert waiting.snoozes >= 2
    open_gate(gate)
    ended = site.wait_ended([sent.id])[sent.id]
    assert (ended.state, ended.generation, ended.retries) == ("SUCCESS", 0, 0)
    assert set(looks(journal)) == {"look a 0"}
    assert site.attempts(sent.id) == []
    assert sent.get(timeout=PATIENCE) == "a"


def test_who_waits_for_it_waits_on(site: Site) -> None:
    site.worker("threads", concurrency=2)
    journal, gate = site.file(), site.file("gate")
    joined = chord([site.put_off.si(journal, gate, line) for line in "ab"])(site.how_many.s())
    followed = chain(site.put_off.si(journal, gate, "c"), site.effect.si(journal, "after c"))()
    wait_looks(journal, 6)
    assert "after c" not in lines(journal)
    open_gate(gate)
    assert joined.get(timeout=PATIENCE) == 2
    assert followed.get(timeout=PATIENCE) == "after c"
    assert lines(journal).count("after c") == 1


def test_its_slot_is_free_meanwhile(site: Site) -> None:
    site.worker("threads", concurrency=2)
    journal, gate = site.file(), site.file("gate")
    first = site.put_off_with_slot.delay(journal, gate, "a")
    wait_looks(journal, 1)
    second = site.put_off_with_slot.delay(journal, "", "b")
    second.get(timeout=PATIENCE)
    assert not site.record(first.id).closed  # type: ignore[union-attr]  # it waits
    open_gate(gate)
    site.wait_ended([first.id, second.id])


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_in_every_pool(sqlite: Site, pool: Pool) -> None:
    sqlite.worker(pool)
    journal, gate = sqlite.file(), sqlite.file("gate")
    sent = [task.delay(journal, gate, name) for name in ("a", "b") for task in (sqlite.put_off, sqlite.put_off_later)]
    wait_looks(journal, 8)
    open_gate(gate)
    ended = sqlite.wait_ended([result.id for result in sent])
    assert {record.state for record in ended.values()} == {"SUCCESS"}


def test_its_key_stays_taken(sqlite: Site) -> None:
    sqlite.worker("threads")
    journal, gate = sqlite.file(), sqlite.file("gate")
    first = sqlite.put_off_keyed.delay(journal, gate, "a")
    wait_looks(journal, 2)
    second = sqlite.put_off_keyed.delay(journal, gate, "a")
    assert second.id == first.id
    open_gate(gate)
    assert first.get(timeout=PATIENCE) == "a"


def test_a_retry_that_was_prepared_is_not_made(sqlite: Site) -> None:
    sqlite.worker("threads")
    journal, gate = sqlite.file(), sqlite.file("gate")
    sent = sqlite.put_off_prepared.delay(journal, gate)
    wait_for(lambda: (sqlite.record(sent.id) or ended).snoozes >= 2, PATIENCE, "it is not put off")
    open_gate(gate)
    ended = sqlite.wait_ended([sent.id])[sent.id]
    assert (ended.state, ended.generation) == ("SUCCESS", 0)
    assert lines(journal) == ["ran 0"]


def test_a_retry_because_of_it_is_none(sqlite: Site) -> None:
    sqlite.worker("threads")
    journal, gate = sqlite.file(), sqlite.file("gate")
    sent = sqlite.put_off_as_a_retry.delay(journal, gate)
    wait_for(lambda: len(lines(journal)) >= 3, PATIENCE, "it is not put off")
    open_gate(gate)
    assert sent.get(timeout=PATIENCE) == 0


def test_a_task_left_to_celery_waits_in_the_store_all_the_same(site: Site) -> None:
    site.worker("threads")
    journal, gate = site.file(), site.file("gate")
    sent = site.put_off_unmanaged.delay(journal, gate, "a")
    wait_looks(journal, 3)
    open_gate(gate)
    assert sent.get(timeout=PATIENCE) == "a"


def test_put_off_it_survives_the_worker(site: Site) -> None:
    worker = site.worker("solo")
    journal, gate = site.file(), site.file("gate")
    sent = site.put_off.delay(journal, gate, "a", 2.0)
    wait_for(lambda: (record := site.record(sent.id)) is not None and record.due_at, PATIENCE, "it does not wait")
    worker.kill()
    seen = len(looks(journal))
    open_gate(gate)
    site.worker("solo")
    ended = site.wait_ended([sent.id])[sent.id]
    assert ended.state == "SUCCESS"
    assert len(looks(journal)) == seen + 1
    assert site.attempts(sent.id) == []


def test_a_revoked_one_does_not_wait_to_its_end(sqlite: Site) -> None:
    sqlite.worker("threads")
    journal, gate = sqlite.file(), sqlite.file("gate")
    sent = sqlite.put_off.delay(journal, gate, "a", 3600)
    wait_for(lambda: (record := sqlite.record(sent.id)) is not None and record.due_at, PATIENCE, "it does not wait")
    sqlite.app.control.revoke(sent.id)
    wait_for(lambda: sqlite.state(sent.id) == "REVOKED", PATIENCE, lambda: sqlite.state(sent.id))


def test_an_eager_one_ends_there(sqlite: Site) -> None:
    """There is no queue in which it could wait; the result says what it raised."""
    journal, gate = sqlite.file(), sqlite.file("gate")
    ended = sqlite.put_off_later.apply((journal, gate, "a"))
    assert ended.state == "IGNORED"
    assert ended.get() is None
    assert str(ended.result) == "put off for 0.2 s"
    assert not sqlite.queues()


def test_without_a_ledger_it_is_sent_again(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = BesideSite.of(tmp_path, "redis", "sqlite", celeriac_ledger=None, result_backend=f"file://{tmp_path}")
    request.node.stash[PROGRAMS] = site.workers
    try:
        assert not site.app.has_ledger
        site.worker("threads")
        journal, gate = site.file(), site.file("gate")
        sent = site.put_off.delay(journal, gate, "a")
        wait_looks(journal, 3)
        open_gate(gate)
        assert sent.get(timeout=PATIENCE) == "a"
        assert set(looks(journal)) == {"look a 0"}
    finally:
        BesideSite.drop_queue(site)
        for worker in site.workers:
            worker.close()
        site.app.close()
