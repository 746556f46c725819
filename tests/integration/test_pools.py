"""Whatever pool runs them, tasks behave as Celery's manual says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import chain, chord, group, states

from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import Worker, wait_for
from tests.support.plugin import PROGRAMS

#: Seconds to wait for a result; only a failure takes so long.
PATIENCE = 30


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "gevent"])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp(request.param))
    site.worker(request.param, concurrency=1 if request.param == "solo" else 3, quiet=False, arguments=["-E"])
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    request.node.stash[PROGRAMS] = shared_site.workers
    return shared_site


@pytest.fixture
def worker(site: Site) -> Worker:
    return site.workers[0]


# -- results


def test_a_result_comes_back(site: Site) -> None:
    assert site.add.delay(1, 2).get(timeout=PATIENCE) == 3


def test_a_failure_comes_back_with_its_traceback(site: Site) -> None:
    result = site.fail.delay("no stock")
    with pytest.raises(ValueError, match="no stock"):
        result.get(timeout=PATIENCE)
    assert result.state == states.FAILURE
    assert "raise ValueError(text)" in result.traceback


def test_an_ignored_result_ends_in_the_ledger_without_its_value(site: Site) -> None:
    journal = site.file()
    result = site.silent.delay(journal)
    record = site.wait_ended([result.id])[result.id]
    assert (record.state, record.result) == (states.SUCCESS, None)
    assert lines(journal) == ["silent"]


def test_a_state_of_the_tasks_own_is_seen_while_it_runs(site: Site) -> None:
    gate = site.file("gate")
    result = site.report_progress.delay(gate)
    wait_for(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 1}
    open_gate(gate)
    assert result.get(timeout=PATIENCE) == "done"
    assert result.state == states.SUCCESS


def test_a_long_task_is_seen_to_have_started(site: Site) -> None:
    journal, gate = site.file(), site.file("gate")
    result = site.hold.delay(journal, gate, "a")
    wait_for(lambda: result.state == states.STARTED)
    open_gate(gate)
    assert result.get(timeout=PATIENCE) == "a"


def test_a_body_publishes_tasks_of_its_own(site: Site) -> None:
    child = site.spawn.delay(4).get(timeout=PATIENCE)
    assert site.app.AsyncResult(child).get(timeout=PATIENCE) == 5


def test_many_tasks_all_end(site: Site) -> None:
    results = [site.add.delay(number, 1) for number in range(300)]
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(1, 301))
    site.wait_ended([result.id for result in results])


# -- async


def test_coroutines_return_raise_and_share_one_loop(site: Site, worker: Worker) -> None:
    assert site.echo_later.delay({"a": [1, None]}).get(timeout=PATIENCE) == {"a": [1, None]}
    with pytest.raises(ValueError, match="late"):
        site.fail_later.delay("late").get(timeout=PATIENCE)
    results = [site.echo_later.delay(number) for number in range(50)]
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(50))


def test_coroutines_of_several_slots_run_at_once(site: Site, worker: Worker) -> None:
    if "solo" in worker.command:
        pytest.skip("solo has one slot")
    journal = site.file()
    results = [site.meet.delay(journal, "a", "b"), site.meet.delay(journal, "b", "a")]
    assert [result.get(timeout=PATIENCE) for result in results] == ["a", "b"]


def test_a_coroutine_knows_its_request_and_retries(site: Site) -> None:
    result = site.retry_later_until.delay(2)
    assert result.get(timeout=PATIENCE) == 2
    assert site.wait_ended([result.id])[result.id].generation == 2


def test_a_coroutine_replaces_itself(site: Site) -> None:
    assert chain(site.swap_later.s(1, 2), site.add.s(10)).delay().get(timeout=PATIENCE) == 13


def test_a_coroutine_publishes_also_when_it_is_over(site: Site) -> None:
    journal = site.file()
    result = site.spawn_later.delay(journal)
    own, child = result.get(timeout=PATIENCE)
    assert own == result.id
    assert site.app.AsyncResult(child).get(timeout=PATIENCE) == "within"
    wait_line(journal, "afterwards")
    assert sorted(lines(journal)) == ["afterwards", "within"]


# -- trying again


def test_retry_counts_and_then_succeeds(site: Site) -> None:
    result = site.retry_until.delay(3)
    assert result.get(timeout=PATIENCE) == 3
    assert [attempt.outcome for attempt in site.attempts(result.id)] == ["retry"] * 3
    assert [attempt.generation for attempt in site.attempts(result.id)] == [0, 1, 2]
    record = site.wait_ended([result.id])[result.id]
    assert (record.generation, record.retries) == (3, 3)


def test_an_exhausted_retry_is_a_dead_letter(site: Site) -> None:
    journal = site.file()
    result = site.retry_in_vain.delay(journal)
    with pytest.raises(ValueError, match="never"):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run 0", "run 1", "run 2"]
    letter = site.letter(result.id)
    assert (letter.reason, letter.error) == ("exhausted", "never")
    assert [attempt.outcome for attempt in letter.attempts] == ["retry", "retry", "dead-lettered"]


def test_autoretry_for_tries_again(site: Site) -> None:
    journal = site.file()
    assert site.autoretry.delay(2, journal).get(timeout=PATIENCE) == 2
    assert lines(journal) == ["run 0", "run 1", "run 2"]


def test_autoretry_for_gives_up_after_its_retries(site: Site) -> None:
    journal = site.file()
    result = site.autoretry.delay(9, journal)
    with pytest.raises(ConnectionError):
        result.get(timeout=PATIENCE)
    assert len(lines(journal)) == 4
    assert len(site.letter(result.id).attempts) == 4


# -- time


def test_a_countdown_ends_on_time_and_not_before(site: Site) -> None:
    journal = site.file()
    begin = time.time()
    result = site.effect.apply_async((journal, "due"), countdown=0.5)
    assert result.get(timeout=PATIENCE) == "due"
    record = site.wait_ended([result.id])[result.id]
    assert record.started_at is not None
    assert record.started_at >= begin + 0.5


def test_what_expired_while_it_waited_is_revoked_and_does_not_run(site: Site) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "late"), countdown=0.6, expires=0.2)
    record = site.wait_ended([result.id])[result.id]
    assert record.state == states.REVOKED
    assert lines(journal) == []


# -- canvas


def test_chain(site: Site) -> None:
    result = chain(site.add.s(1, 1), site.add.s(2), site.add.s(3)).delay()
    assert result.get(timeout=PATIENCE) == 7
    assert result.parent.get(timeout=PATIENCE) == 4


def test_a_chain_stops_at_its_failure(site: Site) -> None:
    journal = site.file()
    result = chain(site.add.s(1, 1), site.fail.si("stop"), site.effect.si(journal, "after")).delay()
    with pytest.raises(ValueError, match="stop"):
        result.parent.get(timeout=PATIENCE)
    site.wait_ended([result.parent.id, result.parent.parent.id])
    assert lines(journal) == []


def test_group(site: Site) -> None:
    result = group(site.add.s(number, number) for number in range(10)).delay()
    assert result.get(timeout=PATIENCE) == list(range(0, 20, 2))


def test_a_saved_group_is_restored(site: Site) -> None:
    result = group(site.add.s(1, 1), site.add.s(2, 2)).delay()
    result.save()
    assert site.app.GroupResult.restore(result.id).get(timeout=PATIENCE) == [2, 4]
    result.delete()
    assert site.app.GroupResult.restore(result.id) is None


def test_chord(site: Site) -> None:
    result = chord([site.add.s(number, 1) for number in range(20)], site.collect.s()).delay()
    assert result.get(timeout=PATIENCE) == list(range(1, 21))


def test_a_chord_of_chains_and_of_groups(site: Site) -> None:
    header = [chain(site.add.s(number, 1), site.add.s(1)) for number in range(3)]
    assert chord(header, site.collect.s()).delay().get(timeout=PATIENCE) == [2, 3, 4]
    nested = group(group(site.add.s(1, 1), site.add.s(2, 2)), site.add.s(3, 3))
    # Celery flattens them, and not in their order.
    assert sorted(chord(nested, site.collect.s()).delay().get(timeout=PATIENCE)) == [2, 4, 6]


def test_chain_group_chain_is_a_chord_inside(site: Site) -> None:
    middle = group(site.add.s(1), site.add.s(2), chain(site.add.s(3), site.add.s(10)))
    result = chain(site.add.s(1, 1), middle, site.collect.s(), site.collect.s()).delay()
    assert result.get(timeout=PATIENCE) == [3, 4, 15]


def test_a_chord_in_a_chord(site: Site) -> None:
    inner = chord([site.add.s(1, 1), site.add.s(2, 2)], site.collect.s())
    assert chord([inner, site.add.s(3, 3)], site.collect.s()).delay().get(timeout=PATIENCE) == [[2, 4], 6]


def test_a_failed_member_fails_the_chord_and_tells_its_errback(site: Site) -> None:
    journal = site.file()
    body = site.collect.s().on_error(site.on_error_by_id.s(journal=journal))
    result = chord([site.add.s(1, 1), site.fail.s("member"), site.add.s(2, 2)], body).delay()
    with pytest.raises(Exception, match="member"):
        result.get(timeout=PATIENCE)
    wait_line(journal, f"error {result.id}")
    assert counts(journal)[f"error {result.id}"] == 1


def test_callbacks_of_success(site: Site) -> None:
    journal = site.file()
    result = site.add.apply_async((2, 3), link=[site.effect_of.s(journal), site.effect_of.s(journal)])
    assert result.get(timeout=PATIENCE) == 5
    wait_for(lambda: lines(journal) == ["5", "5"])
    assert [group.get(timeout=PATIENCE) for group in result.children] == [[5, 5]]


def test_callbacks_of_failure_sent_and_in_place(site: Site) -> None:
    journal = site.file()
    errbacks = [site.on_error_by_id.s(journal=journal), site.on_error_in_place.s(journal)]
    result = site.fail.apply_async(("broken",), link_error=errbacks)
    wait_line(journal, f"error {result.id}")
    wait_line(journal, f"error {result.id} ValueError")
    assert len(lines(journal)) == 2


def test_replace_keeps_the_id(site: Site) -> None:
    result = site.swap.delay(3, 4)
    assert result.get(timeout=PATIENCE) == 7
    assert result.id == site.wait_ended([result.id])[result.id].task_id


def test_replace_in_a_chain_goes_on(site: Site) -> None:
    assert chain(site.swap.s(1, 1), site.add.s(10)).delay().get(timeout=PATIENCE) == 12


def test_replace_by_a_chord(site: Site) -> None:
    assert chain(site.swap_for_chord.s(3), site.collect.s()).delay().get(timeout=PATIENCE) == [0, 2, 4]


def test_a_chord_member_replaced(site: Site) -> None:
    assert chord([site.swap.s(1, 1), site.add.s(1, 2)], site.collect.s()).delay().get(timeout=PATIENCE) == [2, 3]


# -- remote control


def test_ping_and_stats(site: Site, worker: Worker) -> None:
    inspect = site.app.control.inspect([worker.nodename], timeout=5)
    assert inspect.ping() == {worker.nodename: {"ok": "pong"}}
    assert inspect.stats()[worker.nodename]["broker"]["transport"] == site.url.partition(":")[0]


def test_active_names_what_runs(site: Site, worker: Worker) -> None:
    if "solo" in worker.command:
        pytest.skip("solo answers between tasks only")
    journal, gate = site.file(), site.file("gate")
    result = site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    active = site.app.control.inspect([worker.nodename], timeout=5).active()
    assert [task["id"] for task in active[worker.nodename]] == [result.id]
    open_gate(gate)
    assert result.get(timeout=PATIENCE) == "a"


def test_events_tell_of_a_task(site: Site, worker: Worker) -> None:
    heard: list[dict[str, Any]] = []
    with site.app.connection_for_read() as connection:
        receiver = site.app.events.Receiver(connection, handlers={"*": heard.append})
        with receiver.consumer_context() as (listening, _channel, _consumers):
            result = site.add.delay(1, 1)
            wait_for(lambda: "task-succeeded" in _types(listening, heard, result.id))
    assert _types(None, heard, result.id) == ["task-received", "task-started", "task-succeeded"]


def _types(connection: Any, heard: list[dict[str, Any]], task_id: str) -> list[str]:
    """What was heard of the task, after listening a moment longer."""
    if connection is not None:
        with suppress(OSError):
            connection.drain_events(timeout=0.5)
    return [event["type"] for event in heard if event.get("uuid") == task_id]


# -- the end of a worker


def test_revoked_while_it_waits(site: Site) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "revoked"), countdown=3600)
    site.app.control.revoke(result.id)
    record = site.wait_ended([result.id])[result.id]
    assert record.state == states.REVOKED
    assert lines(journal) == []


@pytest.mark.parametrize("shared_site", ["prefork", "threads", "solo", "gevent"], indirect=True, scope="function")
def test_a_warm_shutdown_finishes_what_runs_and_leaves_the_rest(shared_site: Site) -> None:
    site, worker = shared_site, shared_site.workers[0]
    journal, gate = site.file(), site.file("gate")
    held = [site.hold.delay(journal, gate, f"held {number}") for number in range(5)]
    wait_for(lambda: any(line.startswith("begin") for line in lines(journal)))
    os.kill(worker.pid, signal.SIGTERM)
    wait_for(lambda: "Warm shutdown" in worker.log())
    open_gate(gate)
    assert worker.wait() == 0
    begun = [line.removeprefix("begin ") for line in lines(journal) if line.startswith("begin")]
    ended = [line.removeprefix("end ") for line in lines(journal) if line.startswith("end")]
    assert sorted(begun) == sorted(ended)
    assert len(site.ended([result.id for result in held])) == len(ended)
    # What it had claimed and not begun is free at once, not after a lease.
    assert sum(size.ready for size in site.queues().values()) == 5 - len(ended)
