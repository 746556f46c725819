"""PostgreSQL stores without one of their guards: the checks notice each; random histories compare a whole one with the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from celeriac.core.attempt import Outcome
from celeriac.errors import CeleriacError
from celeriac.store.postgres.session import STATEMENTS
from celeriac.testing.conformance import StoreConformance, run_check
from celeriac.testing.conformance.machine import queue_machine
from tests.conformance.postgres import PostgresHarness

Check = tuple[str, dict[str, Any]]
NOTICED = (AssertionError, pytest.fail.Exception, CeleriacError)


@dataclass(frozen=True)
class Build:
    """What one statement says no more, and the checks that must notice."""

    statement: str
    guard: str
    instead: str
    checks: tuple[Check, ...]


def stale(use: str) -> Check:
    return "test_a_stale_token_does_nothing_to_the_next_holder", {"use": use}


BUILDS = {
    "no fencing: settle": Build("ledger.settle_plain", "AND message.deliveries = given.token", "", (stale("settle"),)),
    "no fencing: retry": Build("queue.retry", "AND deliveries = $10", "AND $10 IS NOT NULL", (stale("settle-retry"),)),
    "no fencing: release": Build("queue.release", "AND deliveries = $4", "AND $4 IS NOT NULL", (stale("release"),)),
    "no fencing: start": Build("queue.start", "AND deliveries = $3", "AND $3 IS NOT NULL", (stale("start"),)),
    "no fencing: extend": Build(
        "queue.extend", "AND deliveries = held.token", "", (("test_a_zombie_prolongs_nobodys_lease", {}),)
    ),
    "no fencing: ack": Build("queue.finish_unsettled", "AND deliveries = $2", "AND $2 IS NOT NULL", (stale("ack"),)),
    "what has begun is handed back": Build(
        "queue.hand_back", "AND started_at IS NULL", "", (("test_what_has_begun_is_not_handed_back", {}),)
    ),
    "no generation": Build(
        "queue.publish_many",
        "task.generation + closed::int",
        "task.generation",
        (("test_what_has_settled_and_is_sent_again_is_a_new_generation", {}),),
    ),
    "a closed generation is written again": Build(
        "ledger.record",
        "AND NOT task.closed",
        "",
        (("test_a_closed_generation_is_not_settled_over", {"state": "RETRY"}),),
    ),
    "a copy of what is over runs": Build(
        "queue.adopted",
        "AND closed",
        "AND NOT closed",
        (("test_a_copy_of_what_is_over_is_settled", {"outcome": Outcome.COMPLETED}),),
    ),
    "a copy of what runs runs": Build(
        "queue.take_over",
        "status IN (0, 5)",
        "status IN (0, 2, 5)",
        (("test_a_copy_of_what_is_held_changes_nothing", {}),),
    ),
    "what a relay has taken is never taken again": Build(
        "queue.take_for_relay",
        "AND lease_until <= $2",
        "AND lease_until <= least(0, $2)",
        (("test_a_relay_that_vanishes_between_taking_and_telling", {}),),
    ),
    "what was relayed and adopted counts as relayed": Build(
        "queue.relayed",
        "AND deliveries = given.token AND status IN (5, 6)",
        "",
        (("test_to_say_so_late_prolongs_nobodys_lease", {}),),
    ),
    "what is acknowledged is not told apart": Build(
        "dead_letters.select",
        "(acked_at IS NOT NULL)::int = $8",
        "$8 IS NOT NULL",
        (("test_an_acknowledged_one_says_by_whom_and_why", {}),),
    ),
    "what is imported is not known": Build(
        "dead_letters.import",
        "task_id = $1 AND generation >= $2",
        "task_id = $1 AND generation > $2",
        (("test_an_import_is_idempotent", {}),),
    ),
    "a chord goes before its members are redriven": Build(
        "ledger.prune_chord_parts",
        "WHERE letter_chord.group_id = old.group_id",
        "WHERE letter_chord.group_id IS NULL",
        (("test_a_chord_waits_as_long_as_a_member_can_be_redriven", {"reported": "of the member"}),),
    ),
    "failures stay unread": Build(
        "failures.read", "task_id = $1", "task_id = $1 AND false", (("test_who_reads_the_result_has_heard", {}),)
    ),
    "failures stay unread whose letters are dealt with": Build(
        "failures.read_all",
        "WHERE task_id",
        "WHERE false AND task_id",
        (("test_who_deals_with_its_dead_letter_has_heard", {"deed": "redriven"}),),
    ),
    "what is redriven has forgotten its key": Build(
        "queue.publish_many",
        "body, limits, key\n    FROM",
        "body, limits, NULL::text\n    FROM",
        (("test_what_was_redriven_lets_its_key_go_when_nothing_settles_it", {}),),
    ),
    "what is paused is claimed": Build(
        "queue.claim_unpaused",
        "WHERE kind = 'task'",
        "WHERE false",
        (("test_many_paused_messages_are_passed_once", {}),),
    ),
    "what is revoked is held by a pause": Build(
        "queue.claim_unpaused",
        "AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = head.task_id)",
        "",
        (("test_what_is_revoked_among_others_of_the_task_is_ended", {}),),
    ),
    "unread failures go with their history": Build(
        "failures.prune", "AND NOT lettered", "", (("test_one_is_kept_as_long_as_history_or_its_letter", {}),)
    ),
    "a zombie saves where it is": Build(
        "checkpoints.save",
        "AND deliveries = $8::bigint",
        "",
        (("test_who_has_lost_the_lease_saves_nothing", {}),),
    ),
    "a circuit's state is replaced by who has read another": Build(
        "circuits.write",
        "AND version = $2",
        "AND $2 IS NOT NULL",
        (("test_only_what_was_read_is_replaced", {}),),
    ),
    "a chord goes before those within it": Build(
        "dead_letters.hold_chord_with",
        "WHERE group_id = $1",
        "WHERE group_id IS NULL AND $1 <> ''",
        (("test_so_do_the_chords_round_it", {}),),
    ),
    "the groups of a header expire as a result does": Build(
        "ledger.prune_groups",
        "state <> 'sent'",
        "false",
        (("test_the_groups_of_a_header_stay_as_long_as_its_chord_waits", {}),),
    ),
    "a chord fails for what was put right": Build(
        "ledger.chord_close",
        "$2 <> 'failed' OR EXISTS",
        "true OR EXISTS",
        (("test_who_saw_a_failure_that_was_put_right_since_closes_nothing", {}),),
    ),
    "a chord fails once": Build(
        "ledger.chord_complete",
        "($3 OR NOT EXISTS",
        "($3::bool IS NULL OR NOT EXISTS",
        (("test_a_failed_chord_fails_anew_with_a_member_that_does", {}),),
    ),
    "a chord is closed twice": Build("ledger.chord_close", "AND state = 'open'", "", (("test_it_is_closed_once", {}),)),
    "a chord counts a member twice": Build(
        "ledger.chord_complete", "<= parts", "<= 2 * parts", (("test_a_member_counts_once", {}),)
    ),
    "limits: slots are not counted": Build(
        "limits.buckets",
        "SELECT count(*) FROM slot",
        "SELECT 0 * count(*) FROM slot",
        (("test_no_more_run_at_once_than_there_are_slots", {}),),
    ),
    "limits: what is due goes past its lane": Build(
        "queue.promote",
        "WHEN limits IS NULL THEN 0 ELSE 7",
        "ELSE 0",
        (("test_delayed_messages_come_to_their_lane_when_they_are_due", {}),),
    ),
    "limits: what enters a lane is not looked for": Build(
        "limits.enter",
        "FROM entered",
        "FROM entered WHERE false",
        (("test_no_more_run_at_once_than_there_are_slots", {}),),
    ),
    "limits: one queue is told of what is free": Build(
        "limits.blocked_queues",
        "SELECT queue FROM found WHERE queue IS NOT NULL",
        "SELECT max(queue) FROM found",
        (("test_a_queue_without_a_worker_keeps_nobody_waiting", {}),),
    ),
}


@pytest.mark.parametrize("name", BUILDS)
def test_checks_notice(name: str, harness: PostgresHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    build = BUILDS[name]
    text, packed = STATEMENTS[build.statement]
    assert build.guard in text, f"{build.statement} has no {build.guard!r} any more; say what guards it now"
    monkeypatch.setitem(STATEMENTS, build.statement, (text.replace(build.guard, build.instead), packed))
    for check, parameters in build.checks:
        with pytest.raises(NOTICED):
            run_check(StoreConformance, check, harness, **parameters)


@pytest.mark.parametrize("name", BUILDS)
def test_the_same_checks_pass_on_the_whole_store(name: str, harness: PostgresHarness) -> None:
    """Otherwise they would notice nothing."""
    for check, parameters in BUILDS[name].checks:
        run_check(StoreConformance, check, harness, **parameters)


def test_random_histories_are_as_the_model_says(postgres_url: str) -> None:
    run_state_machine_as_test(
        queue_machine(lambda: PostgresHarness(postgres_url)),
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=bool(os.environ.get("CI")),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
