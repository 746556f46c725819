"""One key, one effect, whoever publishes it and wherever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, group, states

from celeriac.errors import ArgumentError, IdempotencyConflict
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool

PATIENCE = 30


@pytest.fixture(scope="module", params=["prefork", "threads"])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("keys"))
    site.worker(request.param, concurrency=3)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    request.node.stash[PROGRAMS] = shared_site.workers
    return shared_site


@pytest.fixture
def key(site: Site) -> str:
    """A key that nobody has used."""
    return site.file("key").rpartition("-")[2]


def test_a_second_publish_returns_the_firsts_result(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed.delay(key, journal)
    assert first.get(timeout=PATIENCE) == f"{key} 0"
    second = site.keyed.delay(key, journal)
    assert second.id == first.id
    assert second.get(timeout=PATIENCE) == f"{key} 0"
    assert lines(journal) == [f"{key} 0"]


def test_while_the_first_runs_or_waits(site: Site, key: str) -> None:
    journal, gate = site.file(), site.file("gate")
    first = site.keyed_hold.delay(key, journal, gate)
    waiting = site.keyed_hold.delay(key, journal, gate)
    wait_line(journal, f"begin {key}")
    running = site.keyed_hold.delay(key, journal, gate)
    open_gate(gate)
    assert {first.id} == {waiting.id, running.id}
    assert running.get(timeout=PATIENCE) == key
    assert lines(journal) == [f"begin {key}"]


def test_the_same_arguments_passed_otherwise_are_the_same(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed.delay(key, journal)
    assert site.keyed.delay(journal=journal, key=key, amount=0).id == first.id
    assert site.keyed.apply_async((key,), {"journal": journal}).id == first.id


def test_other_arguments_are_refused(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed.delay(key, journal, 1)
    with pytest.raises(IdempotencyConflict, match=first.id):
        site.keyed.delay(key, journal, 2)
    assert first.get(timeout=PATIENCE) == f"{key} 1"
    assert lines(journal) == [f"{key} 1"]


def test_two_tasks_may_have_one_key(site: Site, key: str) -> None:
    """A key is scoped by the task's name."""
    journal = site.file()
    assert site.keyed.delay(key, journal).get(timeout=PATIENCE) == f"{key} 0"
    assert site.keyed_briefly.delay(key, journal).get(timeout=PATIENCE) == key
    assert len(lines(journal)) == 2


def test_published_from_a_body(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed.delay(key, journal)
    assert site.spawn_keyed.delay(key, journal).get(timeout=PATIENCE) == first.id
    first.get(timeout=PATIENCE)
    assert lines(journal) == [f"{key} 0"]


# -- somebody waits for the duplicate's own id


def test_two_chains_share_a_step(site: Site, key: str) -> None:
    journal, ends = site.file(), site.file()
    chains = [
        chain(site.add.si(1, 1), site.keyed_step.si(5, key, journal), site.effect_of.s(ends)).delay() for _ in range(2)
    ]
    assert [result.get(timeout=PATIENCE) for result in chains] == [6, 6]
    assert lines(journal) == [key]
    assert lines(ends) == ["6", "6"]
    assert chains[0].parent.id != chains[1].parent.id


def test_a_chain_whose_step_was_done_long_before(site: Site, key: str) -> None:
    journal = site.file()
    assert site.keyed_step.delay(5, key, journal).get(timeout=PATIENCE) == 6
    assert chain(site.keyed_step.si(5, key, journal), site.add.s(10)).delay().get(timeout=PATIENCE) == 16
    assert lines(journal) == [key]


def test_an_id_sent_again_does_not_repeat_what_it_did_under_its_key(site: Site, key: str) -> None:
    """Somebody waits for it once more, and gets what came of it."""
    journal = site.file()
    first = site.keyed_step.delay(5, key, journal)
    assert first.get(timeout=PATIENCE) == 6
    for ending in (6, 12):
        step = site.keyed_step.si(5, key, journal).set(task_id=first.id)
        again = chain(step, site.add.s(ending)).delay()
        assert again.get(timeout=PATIENCE) == 6 + ending
    assert site.app.AsyncResult(first.id).get(timeout=PATIENCE) == 6
    assert lines(journal) == [key]


def test_a_chord_with_two_members_under_one_key(site: Site, key: str) -> None:
    journal = site.file()
    header = [site.keyed_step.s(1, key, journal), site.keyed_step.s(1, key, journal), site.add.s(3, 4)]
    assert chord(header, site.collect.s()).delay().get(timeout=PATIENCE) == [2, 2, 7]
    assert lines(journal) == [key]


def test_a_group_with_two_members_under_one_key(site: Site, key: str) -> None:
    journal = site.file()
    result = group(site.keyed.s(key, journal), site.keyed.s(key, journal)).delay()
    assert result.get(timeout=PATIENCE) == [f"{key} 0"] * 2
    assert lines(journal) == [f"{key} 0"]


def test_a_callback_on_the_duplicate_is_called(site: Site, key: str) -> None:
    journal, called = site.file(), site.file()
    first = site.keyed.delay(key, journal)
    second = site.keyed.apply_async((key, journal), link=site.effect_of.s(called))
    assert second.id != first.id
    wait_line(called, f"{key} 0")
    assert second.get(timeout=PATIENCE) == f"{key} 0"
    assert lines(journal) == [f"{key} 0"]


def test_an_alias_waits_for_its_holder_and_takes_no_slot(site: Site, key: str) -> None:
    journal, gate = site.file(), site.file("gate")
    site.keyed_hold.delay(key, journal, gate)
    aliases = [site.keyed_hold.apply_async((key, journal, gate), task_id=f"{key}-{number}") for number in range(8)]
    # Three slots, one holder, eight aliases: others still run.
    assert [site.add.delay(number, 1).get(timeout=PATIENCE) for number in range(10)] == list(range(1, 11))
    open_gate(gate)
    assert [alias.get(timeout=PATIENCE) for alias in aliases] == [key] * 8
    assert lines(journal) == [f"begin {key}"]


def test_when_the_holder_fails_the_alias_runs(site: Site, key: str) -> None:
    journal, gate = site.file(), site.file("gate")
    holder = site.keyed_fails.delay(key, journal, gate, 1)
    wait_line(journal, holder.id)
    alias = site.keyed_fails.apply_async((key, journal, gate, 1), task_id=f"{key}-alias")
    open_gate(gate)
    assert alias.get(timeout=PATIENCE) == key
    with pytest.raises(ValueError, match="holder fails"):
        holder.get(timeout=PATIENCE)
    assert lines(journal) == [holder.id, alias.id]


def test_when_the_holder_is_revoked_the_alias_runs(site: Site, key: str) -> None:
    journal = site.file()
    holder = site.keyed.apply_async((key, journal), countdown=3600)
    alias = site.keyed.apply_async((key, journal), task_id=f"{key}-alias")
    holder.revoke()
    assert alias.get(timeout=PATIENCE) == f"{key} 0"
    assert holder.state == states.REVOKED


def test_a_conflict_in_a_follow_up_is_its_own(site: Site, key: str) -> None:
    journal, told = site.file(), site.file()
    site.keyed_step.delay(5, key, journal).get(timeout=PATIENCE)
    step = site.keyed_step.s(key, journal).on_error(site.on_error_by_id.s(journal=told))
    result = chain(site.add.s(1, 1), step).delay()
    assert result.parent.get(timeout=PATIENCE) == 2
    with pytest.raises(IdempotencyConflict):
        result.get(timeout=PATIENCE)
    wait_line(told, f"error {result.id}")
    assert site.letter(result.id).error_type.endswith("IdempotencyConflict")
    assert lines(journal) == [key]
    # The key is still its holder's.
    assert site.keyed_step.delay(5, key, journal).get(timeout=PATIENCE) == 6


# -- how a key becomes free


def test_failure_frees_the_key(site: Site, key: str) -> None:
    journal, gate = site.file(), site.file("gate")
    open_gate(gate)
    first = site.keyed_fails.delay(key, journal, gate, 1)
    with pytest.raises(ValueError, match="holder"):
        first.get(timeout=PATIENCE)
    second = site.keyed_fails.delay(key, journal, gate, 1)
    assert second.id != first.id
    assert second.get(timeout=PATIENCE) == key


def test_a_key_outlives_a_retry(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed_retry.delay(key, journal)
    wait_line(journal, "run 0")
    second = site.keyed_retry.delay(key, journal)
    assert second.id == first.id
    assert second.get(timeout=PATIENCE) == key
    assert lines(journal) == ["run 0", "run 1"]


def test_revoke_and_expiry_and_purge_free_the_key(site: Site, key: str) -> None:
    journal = site.file()
    revoked = site.keyed.apply_async((key, journal), countdown=3600)
    revoked.revoke()
    site.wait_ended([revoked.id])
    expired = site.keyed.apply_async((key, journal), countdown=0.4, expires=0.1)
    assert expired.id != revoked.id
    site.wait_ended([expired.id])
    purged = site.keyed.apply_async((key, journal), queue="nobody")
    assert purged.id != expired.id
    with site.app.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("nobody") == 1
    last = site.keyed.delay(key, journal)
    assert last.id != purged.id
    assert last.get(timeout=PATIENCE) == f"{key} 0"
    assert lines(journal) == [f"{key} 0"]


def test_a_key_is_free_when_its_time_is_over(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed_briefly.delay(key, journal)
    first.get(timeout=PATIENCE)
    over = time.time() + 1.0
    assert site.keyed_briefly.delay(key, journal).id == first.id
    wait_for(lambda: time.time() > over + 0.2)
    second = site.keyed_briefly.delay(key, journal)
    assert second.id != first.id
    assert second.get(timeout=PATIENCE) == key
    assert counts(journal) == {key: 2}


def test_a_replaced_holder_keeps_the_key_until_its_replacement_ends(site: Site, key: str) -> None:
    first = site.keyed_swap.delay(key)
    assert first.get(timeout=PATIENCE) == 3
    second = site.keyed_swap.delay(key)
    assert second.get(timeout=PATIENCE) == 3
    assert second.id == first.id


def test_a_holder_whose_replacement_failed_frees_the_key(site: Site, key: str) -> None:
    first = site.keyed_swap_for_failure.delay(key)
    with pytest.raises(ValueError, match="replaced"):
        first.get(timeout=PATIENCE)
    second = site.keyed_swap_for_failure.delay(key)
    assert second.id != first.id
    with pytest.raises(ValueError, match="replaced"):
        second.get(timeout=PATIENCE)


def test_a_holder_that_no_worker_knows_frees_the_key(site: Site, key: str) -> None:
    journal = site.file()
    first = site.only_here.delay(key)
    site.wait_ended([first.id])
    assert site.letter(first.id).reason == "unknown-task"
    assert site.only_here.delay(key).id != first.id
    assert lines(journal) == []


# -- with deaths


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("point", ["settling", "settled"])
def test_a_death_leaves_one_holder(tmp_path_factory: pytest.TempPathFactory, point: str, pool: Pool) -> None:
    site = Site(tmp_path_factory.mktemp("death"))
    try:
        journal = site.file()
        first = site.keyed.delay("k", journal)
        alias = site.keyed.apply_async(("k", journal), task_id="alias")
        site.worker(pool, wait=False, break_at=point).wait()
        assert site.keyed.delay("k", journal).id == first.id
        site.worker(pool)
        assert alias.get(timeout=PATIENCE) == first.get(timeout=PATIENCE) == "k 0"
        # Not settled, it had to run again; settled, it may not.
        assert len(lines(journal)) == (2 if point == "settling" else 1)
    finally:
        site.close()


@pytest.mark.parametrize("replacement", ["chain", "group"])
def test_a_holder_whose_replacement_failed_on_the_way_frees_the_key(site: Site, key: str, replacement: str) -> None:
    """What failed has another id than the holder."""
    task = getattr(site, f"keyed_swap_for_failing_{replacement}")
    first = task.delay(key)
    wait_for(lambda: site.app.AsyncResult(first.id).state == states.FAILURE, 30)
    second = task.delay(key)
    assert second.id != first.id
    wait_for(lambda: site.app.AsyncResult(second.id).state == states.FAILURE, 30)


def test_a_result_is_kept_as_long_as_its_key(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = Site(tmp_path, result_expires=1)
    request.node.stash[PROGRAMS] = site.workers
    try:
        journal = site.file()
        site.worker("solo")
        first, plain = site.keyed.delay("k", journal), site.effect.delay(journal, "plain")
        assert first.get(timeout=30) == "k 0"
        wait_for(lambda: site.app.AsyncResult(plain.id).state == states.PENDING, 30)  # the pruner was here
        assert site.keyed.delay("k", journal).get(timeout=5) == "k 0"
        assert chain(site.keyed.s("k", journal), site.effect_of.s(journal)).delay().get(timeout=30) is not None
        assert lines(journal)[:2] == ["k 0", "plain"]
    finally:
        site.close()


def test_a_forgotten_result_leaves_that_it_was_done(site: Site, key: str) -> None:
    journal = site.file()
    first = site.keyed.delay(key, journal)
    assert first.get(timeout=30) == f"{key} 0"
    first.forget()
    second = site.keyed.delay(key, journal)
    assert (second.id, second.get(timeout=5)) == (first.id, None)
    assert lines(journal) == [f"{key} 0"]


def test_a_key_that_no_store_keeps_is_refused(site: Site) -> None:
    with pytest.raises(ArgumentError, match=r"keyed.*half a character"):
        site.keyed.delay("\ud800", site.file())
