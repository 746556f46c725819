"""Redis stores without one of their guards: the checks notice each; random histories compare a whole one with the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from celeriac.core.attempt import Outcome
from celeriac.errors import CeleriacError
from celeriac.store.redis.scripts import compose
from celeriac.testing.conformance import StoreConformance, run_check
from celeriac.testing.conformance.machine import queue_machine
from tests.conformance.redis import SOURCES, RedisHarness

Check = tuple[str, dict[str, Any]]
NOTICED = (AssertionError, pytest.fail.Exception, CeleriacError)


@dataclass(frozen=True)
class Build:
    """What one file says no more, and the checks that must notice."""

    file: str
    guard: str
    instead: str
    checks: tuple[Check, ...]


def stale(*uses: str) -> tuple[Check, ...]:
    return tuple(("test_a_stale_token_does_nothing_to_the_next_holder", {"use": use}) for use in uses)


def check(name: str, **parameters: Any) -> tuple[Check, ...]:
    return ((name, parameters),)


BUILDS = {
    "no fencing": Build(
        "lib/rows",
        "s and s.status == CLAIMED and s.deliveries == token",
        "s and s.status == CLAIMED",
        (
            *stale("settle", "settle-retry", "settle-snooze", "bury", "ack", "extend", "release", "start", "reject"),
            *check("test_a_zombie_prolongs_nobodys_lease"),
        ),
    ),
    "the answer of a lost lease is not heeded": Build(
        "settling",
        "if not leave_queue(item, now) then return 0 end",
        "leave_queue(item, now)",
        check("test_a_lost_lease_writes_nothing_at_all"),
    ),
    "a zombie saves where it is": Build(
        "checkpoints",
        "local s = held(id, token)",
        "local s = state_of(id)",
        check("test_who_has_lost_the_lease_saves_nothing"),
    ),
    "who tells its progress loses its cursors": Build(
        "lib/checkpoints",
        "if c.cursors ~= '' then",
        "if true then",
        check("test_progress_alone_leaves_the_cursors"),
    ),
    "a checkpoint goes with its record under its dead letter": Build(
        "lib/checkpoints",
        " and call('HEXISTS', base .. 'lettered', task) == 0",
        "",
        check("test_a_dead_letter_keeps_its_cursors_for_a_redrive"),
    ),
    "a circuit's state is replaced by who has read another": Build(
        "circuits",
        "if known ~= version then return 0 end",
        "",
        (
            *check("test_only_what_was_read_is_replaced"),
            *check("test_two_cannot_both_be_the_first"),
            *check("test_who_read_what_was_forgotten_writes_nothing"),
        ),
    ),
    "a dead letter forgets how often it was put off": Build(
        "settling",
        ", again.snoozes = s.deliveries, s.snoozes",
        " = s.deliveries",
        check("test_a_dead_letter_says_how_often_it_was_put_off"),
    ),
    "what has begun is handed back": Build(
        "leases", "if s and s.started == '' then", "if s then", check("test_what_has_begun_is_not_handed_back")
    ),
    "no generation: what has settled and is sent again": Build(
        "lib/sending",
        "+ (is_closed(record) and 1 or 0)",
        "",
        (
            *check("test_what_has_settled_and_is_sent_again_is_a_new_generation"),
            *check("test_a_follow_up_under_the_same_id_is_the_next_generation"),
        ),
    ),
    "no generation: retry": Build(
        "settling", "row.generation + 1", "row.generation", check("test_a_retry_replaces_its_message")
    ),
    "no generation: older ones write too": Build(
        "lib/records", "new < known or ", "", check("test_an_older_generation_writes_no_record")
    ),
    "no generation: a closed one is open": Build(
        "lib/records",
        " or (new == known and is_closed(old))",
        "",
        (
            *check("test_a_closed_generation_is_not_settled_over", state="RETRY"),
            *check("test_a_closed_generation_is_not_stored_over", state="REVOKED", outcome=Outcome.COMPLETED),
        ),
    ),
    "a generation that is over is not known at the claim": Build(
        "queue", "over and 1 or 0", "0", check("test_a_generation_that_is_over_is_known_at_the_claim")
    ),
    "no started mark": Build(
        "leases",
        "s.started = text(clock())",
        "",
        (
            *check("test_a_run_that_was_marked_counts_as_a_crash"),
            *check("test_a_started_task_says_where_and_since_when"),
        ),
    ),
    "crashes are counted at the claim": Build(
        "leases", "if s.started ~= '' then", "if true then", check("test_a_neighbour_that_never_ran_counts_nothing")
    ),
    "suspects are not told apart": Build(
        "leases",
        "    s.status, s.started, s.owner = SUSPECT, '', ''\n    put_state(id, s)\n    make_suspect(id, s.queue)",
        "    s.status, s.started, s.owner = READY, '', ''\n    put_state(id, s)\n    make_ready(id, s.queue, s.priority)",
        (
            *check("test_suspects_come_one_by_one_and_before_others"),
            *check("test_the_last_chance_is_shared_with_nobody"),
        ),
    ),
    "follow-ups are not in the settlement": Build(
        "settling",
        "for _, m in ipairs(item.messages or {}) do send(m, now) end",
        "",
        check("test_follow_ups_and_other_records_come_with_it"),
    ),
    "a task is live twice": Build(
        "lib/sending",
        "m.task ~= '' and (id or taken[m.task])",
        "false",
        (
            *check("test_a_second_publish_of_a_waiting_task_is_dropped"),
            *check("test_one_batch_holds_a_task_once"),
            *check("test_a_second_publish_of_a_running_task_is_dropped"),
        ),
    ),
    "keys are never freed": Build(
        "lib/keys",
        "        drop_key(one[1], one[2])\n        unpark(one[1], now)",
        "",
        (
            *check("test_every_end_but_success_frees_it", outcome=Outcome.FAILED),
            *check("test_purging_the_queue_frees_it"),
            *check("test_it_is_let_go_by_failure_too", outcome=Outcome.DEAD_LETTERED),
        ),
    ),
    "a success does not keep its key": Build(
        "settling",
        "keep_keys(item.task, now)",
        "free_keys(item.task, now)",
        check("test_a_success_holds_for_its_time_to_live"),
    ),
    "a conflict is found when half is written": Build(
        "queue", "if number then", "if false then", check("test_other_arguments_under_a_held_key_are_a_conflict")
    ),
    "who waits in vain holds its key": Build(
        "lib/keys",
        "elseif waits_in_vain(k.task, now) then",
        "elseif false then",
        (
            *check("test_a_revoked_holder_that_waits_holds_nothing"),
            *check("test_an_expired_holder_that_waits_holds_nothing"),
        ),
    ),
    "priorities are upside down": Build(
        "lib/lanes", "(9 - priority)", "priority", check("test_order_holds_over_claims_as_well")
    ),
    "leases never run out": Build(
        "leases",
        "'leases', '-inf', now, 'LIMIT', 0, most",
        "'leases', '-inf', 0, 'LIMIT', 0, most",
        check("test_everything_a_vanished_worker_held_comes_back"),
    ),
    "a chord counts a member twice": Build(
        "lib/joins",
        "> call('HLEN', base .. 'p:' .. group)",
        "> 2 * call('HLEN', base .. 'p:' .. group)",
        (*check("test_a_member_counts_once"), *check("test_the_last_member_completes_it")),
    ),
    "a chord goes before those within it": Build(
        "chords",
        "do hold_chord(task, other) end",
        "do end",
        check("test_so_do_the_chords_round_it"),
    ),
    "the groups of a header expire as a result does": Build(
        "pruning",
        "if state and state ~= 'sent' then",
        "if false then",
        check("test_the_groups_of_a_header_stay_as_long_as_its_chord_waits"),
    ),
    "a chord fails for what was put right": Build(
        "chords",
        "if state == 'failed' and tonumber(failed or 0) == 0 then return 0 end",
        "",
        check("test_who_saw_a_failure_that_was_put_right_since_closes_nothing"),
    ),
    "a chord fails once": Build(
        "lib/joins",
        "(anew or tonumber",
        "(tonumber",
        check("test_a_failed_chord_fails_anew_with_a_member_that_does"),
    ),
    "a body that is none is kept": Build(
        "lib/joins",
        "if part.body ~= '' then call('HSETNX', name, 'body', part.body) end",
        "call('HSETNX', name, 'body', part.body)",
        check("test_a_member_that_was_cancelled_is_told_from_one_that_has_failed"),
    ),
    "a chord is closed twice": Build(
        "chords", "known ~= 'open' or not completed", "not completed", check("test_it_is_closed_once")
    ),
    "history goes before its dead letter": Build(
        "pruning",
        "if call('HEXISTS', base .. 'lettered', task) == 1 then",
        "if false then",
        check("test_history_is_kept_as_long_as_the_letter"),
    ),
    "a chord goes before its members are redriven": Build(
        "pruning",
        "if is_held_open(group) then",
        "if false then",
        check("test_a_chord_waits_as_long_as_a_member_can_be_redriven", reported="of the member"),
    ),
    "of one task's letters all are redriven": Build(
        "letters",
        "if call('HEXISTS', base .. 'live', r.task) == 1 then return 'live' end",
        "",
        (
            *check("test_of_one_task_s_letters_one_is_redriven"),
            *check("test_of_many_each_is_refused_by_itself"),
        ),
    ),
    "a redrive takes a key from its holder": Build(
        "letters",
        "if k and (k.done == 1 or k.task ~= r.task) then return 'h' .. k.task end",
        "",
        check("test_of_those_with_one_key_the_first_is_redriven"),
    ),
    "a chord goes while its member is redriven": Build(
        "letters",
        "touch_chord(group, now)\n            call('SADD'",
        "touch_chord(group, 0)\n            call('SADD'",
        check("test_a_chord_waits_as_long_as_a_member_can_be_redriven", reported="of what follows it"),
    ),
    "a chord whose members are purged stays": Build(
        "lib/history",
        "if updated then call('ZADD', base .. 'chords:over', 'XX', updated, group) end",
        "",
        check("test_a_chord_whose_members_are_purged_goes"),
    ),
    "what is imported is not known": Build(
        "letters",
        "if tonumber(known) >= generation then return true end",
        "",
        (*check("test_an_import_is_idempotent"), *check("test_one_export_may_name_a_letter_twice")),
    ),
    "what was redriven is imported": Build(
        "letters",
        "if record and tonumber(record[GENERATION]) > generation then return true end",
        "",
        check("test_what_was_sent_again_since_is_not_imported", fate="succeeded"),
    ),
    "nobody writes down what is done": Build(
        "lib/acts",
        "call('ZADD', base .. 'acts:all', number, number)",
        "",
        check("test_everything_that_is_done_is_in_the_log"),
    ),
    "the log is kept for ever": Build(
        "pruning", "+ prune_acts()", "", check("test_the_log_is_kept_as_long_as_history")
    ),
    "failures stay unread": Build(
        "lib/failures",
        "if call('DEL', base .. 'f:' .. task) == 0 then return 0 end",
        "if true then return 0 end",
        (
            *check("test_who_reads_the_result_has_heard"),
            *check("test_who_deals_with_its_dead_letter_has_heard", deed="purged"),
            *check("test_one_that_was_sent_again_and_succeeds_is_none_any_more"),
        ),
    ),
    "a failure that is told is unread": Build(
        "lib/records",
        "or how.told then return read_failure(task) end",
        "then return read_failure(task) end",
        check("test_one_that_is_told_otherwise_is_none"),
    ),
    "unread failures go with their history": Build(
        "lib/failures",
        "if f.lettered then",
        "if false then",
        check("test_one_is_kept_as_long_as_history_or_its_letter"),
    ),
    "what is over is adopted again": Build(
        "outbox",
        "if record and is_closed(record) then return 'settled' end",
        "",
        check("test_a_copy_of_what_is_over_and_forgotten_is_settled"),
    ),
    "what the broker has lost is not relayed again": Build(
        "outbox",
        "gather(base .. 'relayed', of_open_queue, now)",
        "",
        (*check("test_what_nobody_adopts_is_relayed_again"), *check("test_what_a_broker_has_lost_is_relayed_now")),
    ),
    "what is committed is told to nobody": Build(
        "queue",
        "if #messages > 0 then say('commits') end",
        "",
        check("test_a_commit_between_mark_and_wait_is_not_missed"),
    ),
    "limits: slots are not counted": Build(
        "lib/lanes",
        "call('HINCRBY', base .. 'slots', bound.bucket, 1)",
        "",
        check("test_no_more_run_at_once_than_there_are_slots"),
    ),
    "limits: room is not passed on": Build(
        "lib/lanes",
        "if has_room(other, now) then wake(other.bucket) end",
        "",
        check("test_a_slot_that_one_cannot_use_goes_to_another"),
    ),
    "limits: what expired starts": Build(
        "lib/lanes",
        "return expires ~= '' and tonumber(expires) < now",
        "return false",
        check("test_what_expired_gives_its_turn_to_the_next_beside_another_broker_too"),
    ),
    "limits: what expired is given back twice": Build(
        "queue",
        "            kept = nil\n",
        "",
        check("test_what_expired_and_is_handed_back_gives_back_nothing"),
    ),
    "limits: a suspect asks nobody": Build(
        "queue",
        "and (s.limits == '' or not first_full(s.limits, now))",
        "",
        check("test_a_suspect_that_may_not_start_holds_up_nobody"),
    ),
    "pauses: claims leave no queue out": Build(
        "queue",
        "if not is_paused('queue', queue) then queues[#queues + 1] = queue end",
        "queues[#queues + 1] = queue",
        check("test_a_paused_queue_is_left_out"),
    ),
    "pauses: nothing is set aside": Build(
        "lib/pauses",
        "if not pausing then return false end",
        "if true then return false end",
        (
            *check("test_a_paused_task_is_set_aside_in_every_queue"),
            *check("test_what_a_broker_delivers_of_a_paused_task_waits_in_the_ledger"),
            *check("test_suspects_are_held_and_come_back_as_such"),
        ),
    ),
    "pauses: lanes are claimed from first": Build(
        "lib/lanes",
        "if not pausing or clear_head(lane) then",
        "if true then",
        check("test_limited_ones_take_no_slot_and_spend_no_rate"),
    ),
    "pauses: what is revoked is held": Build(
        "lib/pauses",
        "if row.task ~= '' and call('ZSCORE', base .. 'revoked', row.task) then return false end",
        "",
        check("test_what_is_revoked_is_ended_in_spite_of_the_pause"),
    ),
    "pauses: a slot is kept": Build(
        "pauses", "let_go(s)\n", "", check("test_a_limited_one_that_is_held_gives_its_slot_back")
    ),
    "pauses: who resumes another task lets all go": Build(
        "pauses",
        "and not is_paused('task', name:sub(2))",
        "",
        check("test_a_resume_that_died_is_gone_on_with"),
    ),
    "pauses: the relay gives a paused queue's out": Build(
        "outbox",
        "if not is_paused('queue', queue) then open[#open + 1] = queue end",
        "open[#open + 1] = queue",
        check("test_a_broker_is_given_nothing_of_what_is_paused"),
    ),
    "limits: a lease that runs out keeps its slot": Build(
        "leases",
        """let_go(s)
    s.status, s.started, s.owner = SUSPECT""",
        "s.status, s.started, s.owner = SUSPECT",
        check("test_a_vanished_workers_slot_is_free_when_its_lease_is_over"),
    ),
    "limits: who is put off keeps its slot": Build(
        "lib/rows",
        """let_go(s)
    s.started, s.owner = '', ''""",
        "s.started, s.owner = '', ''",
        check("test_what_is_put_off_waits_without_its_slot"),
    ),
}


@pytest.mark.parametrize("name", BUILDS)
def test_checks_notice(name: str, redis_url: str) -> None:
    build = BUILDS[name]
    assert build.guard in SOURCES[build.file], f"{build.file} has no {build.guard!r} any more; say what guards it now"
    broken = compose({**SOURCES, build.file: SOURCES[build.file].replace(build.guard, build.instead)})
    for each, parameters in build.checks:
        harness = RedisHarness(redis_url, broken)
        try:
            with pytest.raises(NOTICED):
                run_check(StoreConformance, each, harness, **parameters)
        finally:
            harness.close()


CHECKS = sorted({(name, str(parameters)) for build in BUILDS.values() for name, parameters in build.checks})


@pytest.mark.parametrize("wanted", CHECKS, ids=" ".join)
def test_the_same_checks_pass_on_the_whole_store(wanted: tuple[str, str], redis_url: str) -> None:
    """Otherwise they would notice nothing."""
    known = {(name, str(given)): given for build in BUILDS.values() for name, given in build.checks}
    harness = RedisHarness(redis_url)
    try:
        run_check(StoreConformance, wanted[0], harness, **known[wanted])
    finally:
        harness.close()


def test_random_histories_are_as_the_model_says(redis_url: str) -> None:
    run_state_machine_as_test(
        queue_machine(lambda: RedisHarness(redis_url)),
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            derandomize=bool(os.environ.get("CI")),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
