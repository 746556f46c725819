"""The suite can fail: each guard of the store taken out, and what notices.

A guard is taken out of the store in one place, as a careless change would. The checks named beside it, and the random
histories, must then fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from celeriac.core.attempt import Outcome
from celeriac.core.lanes import Buckets
from celeriac.errors import CeleriacError
from celeriac.store.relational import failures, keys, ledger, limits, pauses, redriving
from celeriac.store.relational import queue as relational_queue
from celeriac.store.sql import statements
from celeriac.testing.conformance import StoreConformance, run_check
from celeriac.testing.conformance.machine import queue_machine
from tests.conformance.sqlite import ClockedStore, SQLiteHarness
from tests.conformance.test_model import TemporaryHarness

Break = Callable[[pytest.MonkeyPatch], None]
Check = tuple[str, dict[str, Any]]


def sql(room: str, name: str, guard: str, instead: str) -> Break:
    """One statement without its guard."""

    def take_out(patch: pytest.MonkeyPatch) -> None:
        known, full = statements("sqlite"), f"{room}.{name}"
        assert guard in known[full], f"{full} has no {guard!r} any more; say what guards it now"
        patch.setitem(known, full, known[full].replace(guard, instead))

    return take_out


def replaced(module: Any, name: str, instead: Any) -> Break:
    """One function that does less."""
    return lambda patch: patch.setattr(module, name, instead)


def all_of(*breaks: Break) -> Break:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        for one in breaks:
            one(patch)

    return take_out


def twice_live(patch: pytest.MonkeyPatch) -> None:
    """Nothing says that a task has one message."""
    guard = "ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING"
    sql("queue", "publish", guard, "")(patch)
    opened = ClockedStore.__init__

    def open_without_index(self: ClockedStore, *arguments: Any) -> None:
        opened(self, *arguments)
        with self.database.writer.reading() as raw:
            raw.execute("DROP INDEX IF EXISTS message_task")

    patch.setattr(ClockedStore, "__init__", open_without_index)


def reused_numbers(patch: pytest.MonkeyPatch) -> None:
    """Nothing says that who went behind has taken a number."""
    opened = ClockedStore.__init__

    def open_without_trigger(self: ClockedStore, *arguments: Any) -> None:
        opened(self, *arguments)
        with self.database.writer.reading() as raw:
            raw.execute("DROP TRIGGER IF EXISTS message_gone_behind")

    patch.setattr(ClockedStore, "__init__", open_without_trigger)


def without_follow_ups(raw: Any, item: Any, now: float) -> None:
    _settle_consequences(raw, replace(item, follow_ups=[]), now)


def in_spite_of_the_lease(raw: Any, item: Any, now: float) -> bool:
    _leave_queue(raw, item, now)
    return True


_settle_consequences = ledger._settle_consequences
_leave_queue = ledger._leave_queue
_note = failures.note


@dataclass(frozen=True)
class Build:
    """A store without one of its guards, and the checks that must notice."""

    take_out: Break
    checks: tuple[Check, ...]
    #: Whether random histories notice too, and soon.
    histories: bool = True


def stale(use: str) -> Check:
    return "test_a_stale_token_does_nothing_to_the_next_holder", {"use": use}


#: An assertion that fails, an error that does not come, and one that comes.
NOTICED = (AssertionError, pytest.fail.Exception, CeleriacError)
TOKEN, ANY = "deliveries = ?", "? IS NOT NULL"
BUILDS = {
    "no fencing: settle": Build(sql("queue", "finish", TOKEN, ANY), (stale("settle"),)),
    "no fencing: retry": Build(sql("queue", "retry", TOKEN, ANY), (stale("settle-retry"),)),
    "no fencing: release": Build(
        sql("queue", "release", "deliveries = ?4", "?4 IS NOT NULL"), (stale("release"), stale("settle-snooze"))
    ),
    "no fencing: extend": Build(
        sql("queue", "extend", "deliveries = held.token", "1"),
        (("test_a_zombie_prolongs_nobodys_lease", {}),),
        histories=False,
    ),
    "no fencing: start": Build(sql("queue", "start", TOKEN, ANY), (stale("start"),), histories=False),
    "no fencing: ack": Build(sql("queue", "finish_unsettled", TOKEN, ANY), (stale("ack"),), histories=False),
    "no fencing: dead letter": Build(
        all_of(sql("queue", "dead_letter_from_message", TOKEN, ANY), sql("queue", "finish", TOKEN, ANY)),
        (stale("bury"), stale("reject")),
    ),
    "the answer of a lost lease is not heeded": Build(
        replaced(ledger, "_leave_queue", in_spite_of_the_lease),
        (("test_a_lost_lease_writes_nothing_at_all", {}), stale("settle")),
    ),
    "no generation: what has settled and is sent again": Build(
        sql("queue", "publish", "generation + closed", "generation"),
        (
            ("test_what_has_settled_and_is_sent_again_is_a_new_generation", {}),
            ("test_a_follow_up_under_the_same_id_is_the_next_generation", {}),
        ),
    ),
    "no generation: retry": Build(
        sql("queue", "retry", "generation = generation + 1", "generation = generation"),
        (("test_a_retry_replaces_its_message", {}),),
    ),
    "no generation: older ones write too": Build(
        sql("ledger", "record", "excluded.generation > task.generation", "1"),
        (
            ("test_an_older_generation_writes_no_record", {}),
            ("test_a_closed_generation_is_not_settled_over", {"state": "STARTED"}),
        ),
        histories=False,  # they publish no generation by hand
    ),
    "no generation: a closed one is open": Build(
        sql("ledger", "record", "AND task.closed = 0", ""),
        (
            ("test_a_closed_generation_is_not_settled_over", {"state": "RETRY"}),
            ("test_a_closed_generation_is_not_stored_over", {"state": "REVOKED", "outcome": Outcome.COMPLETED}),
        ),
        histories=False,
    ),
    "no started mark": Build(
        sql("queue", "start", "SET started_at = ?", "SET started_at = nullif(?, started_at + 1) AND NULL"),
        (
            ("test_a_run_that_was_marked_counts_as_a_crash", {}),
            ("test_a_started_task_says_where_and_since_when", {}),
        ),
    ),
    "crashes are counted at the claim": Build(
        sql("queue", "expired_leases", "deliveries, started_at", "deliveries, 1.0"),
        (("test_a_neighbour_that_never_ran_counts_nothing", {}), ("test_the_mark_is_that_deliverys_alone", {})),
    ),
    "a mark outlives its delivery": Build(
        all_of(
            sql("queue", "claim", "started_at = NULL,", ""),
            sql("queue", "claim_suspect", "started_at = NULL,", ""),
            sql("queue", "reclaim", "started_at = NULL,", ""),
        ),
        (("test_the_mark_is_that_deliverys_alone", {}),),
    ),
    "suspects are not told apart": Build(
        sql("queue", "reclaim", "SET status = 4", "SET status = 0"),
        (
            ("test_suspects_come_one_by_one_and_before_others", {}),
            ("test_the_last_chance_is_shared_with_nobody", {}),
        ),
    ),
    "follow-ups are not in the settlement": Build(
        replaced(ledger, "_settle_consequences", without_follow_ups),
        (
            ("test_follow_ups_and_other_records_come_with_it", {}),
            ("test_a_settlement_is_whole_or_nothing", {"outcome": Outcome.COMPLETED}),
        ),
    ),
    "a task is live twice": Build(
        twice_live,
        (
            ("test_a_second_publish_of_a_waiting_task_is_dropped", {}),
            ("test_one_batch_holds_a_task_once", {}),
            ("test_a_second_publish_of_a_running_task_is_dropped", {}),
        ),
    ),
    "keys are never freed": Build(
        replaced(keys, "free", lambda raw, task_id, now: None),
        (
            ("test_every_end_but_success_frees_it", {"outcome": Outcome.FAILED}),
            ("test_purging_the_queue_frees_it", {}),
            ("test_it_is_let_go_by_failure_too", {"outcome": Outcome.DEAD_LETTERED}),
        ),
    ),
    "a success does not keep its key": Build(
        replaced(keys, "keep", keys.free), (("test_a_success_holds_for_its_time_to_live", {}),), histories=False
    ),
    "priorities are upside down": Build(
        sql("queue", "claim", "ORDER BY priority DESC, id", "ORDER BY priority, id"),
        (("test_order_holds_over_claims_as_well", {}),),
    ),
    "leases never run out": Build(
        sql("queue", "expired_leases", "lease_until <= ?", "lease_until <= min(0, ?)"),
        (("test_everything_a_vanished_worker_held_comes_back", {}),),
    ),
    "a chord counts a member twice": Build(
        sql("ledger", "chord_complete", "<= parts", "<= 2 * parts"),
        (("test_a_member_counts_once", {}), ("test_the_last_member_completes_it", {})),
        histories=False,
    ),
    "a copy of what is over runs": Build(
        sql("queue", "adopted", "AND closed = 1", "AND closed = 2"),
        (
            ("test_a_copy_of_what_is_over_is_settled", {"outcome": Outcome.COMPLETED}),
            ("test_a_message_that_no_worker_can_take_becomes_a_dead_letter", {}),
            ("test_purged_and_delivered_after_all", {}),
        ),
        histories=False,  # they adopt nothing
    ),
    "a copy of what runs runs": Build(
        sql("queue", "take_over", "status IN (0, 5)", "status IN (0, 2, 5)"),
        (("test_a_copy_of_what_is_held_changes_nothing", {}), ("test_several_at_once", {})),
        histories=False,
    ),
    "what a relay has taken is never taken again": Build(
        sql("queue", "take_for_relay", "lease_until <= ?2", "lease_until <= min(0, ?2)"),
        (
            ("test_a_relay_that_vanishes_between_taking_and_telling", {}),
            ("test_what_nobody_adopts_is_relayed_again", {}),
        ),
        histories=False,
    ),
    "what was relayed and adopted counts as relayed": Build(
        sql("queue", "relayed", "AND deliveries = given.token AND status IN (5, 6)", ""),
        (("test_to_say_so_late_prolongs_nobodys_lease", {}),),
        histories=False,
    ),
    "a suspect is none once it was relayed": Build(
        sql("queue", "take_for_relay", "iif(status IN (4, 6), 6, 5)", "5"),
        (
            ("test_a_suspect_whose_run_was_not_marked_is_one_still", {}),
            ("test_a_suspect_is_one_however_often_it_is_relayed", {}),
        ),
        histories=False,
    ),
    "what is acknowledged is not told apart": Build(
        sql("dead_letters", "select", "(?8 IS NULL OR (acked_at IS NOT NULL) = ?8)", "(?8 IS NULL OR 1)"),
        (("test_an_acknowledged_one_says_by_whom_and_why", {}), ("test_the_newest_of_those_that_are_open", {})),
        histories=False,  # they have no desk
    ),
    "every error is a group": Build(
        replaced(ledger, "fingerprint", lambda kind, error: f"{kind}{error}"),
        (("test_errors_of_one_kind_are_a_group", {}),),
        histories=False,
    ),
    "what is imported is not known": Build(
        sql("dead_letters", "import", "task_id = ?1 AND generation >= ?2", "task_id = ?1 AND generation > ?2"),
        (("test_an_import_is_idempotent", {}), ("test_one_export_may_name_a_letter_twice", {})),
        histories=False,
    ),
    "what was redriven is imported": Build(
        sql("dead_letters", "import", "generation > ?2)", "generation > ?2 + 99)"),
        (("test_what_was_sent_again_since_is_not_imported", {"fate": "succeeded"}),),
        histories=False,
    ),
    "what waits again is imported": Build(
        sql("dead_letters", "import", "NOT EXISTS (SELECT 1 FROM message WHERE task_id = ?1)", "1"),
        (("test_what_was_sent_again_since_is_not_imported", {"fate": "waits"}),),
        histories=False,
    ),
    "nobody writes down what is done": Build(
        replaced(redriving, "act_on", lambda *_: None),
        (("test_everything_that_is_done_is_in_the_log", {}), ("test_the_log_of_one_task_and_the_newest_lines", {})),
        histories=False,
    ),
    "a chord goes before its members are redriven": Build(
        sql("ledger", "prune_chord_parts", "letter_chord.group_id = chord.group_id", "letter_chord.group_id IS NULL"),
        (("test_a_chord_waits_as_long_as_a_member_can_be_redriven", {"reported": "of the member"}),),
        histories=False,
    ),
    "a chord goes while its member is redriven": Build(
        sql("dead_letters", "keep_chords", "SET updated_at = ?1", "SET updated_at = min(updated_at, ?1)"),
        (("test_a_chord_waits_as_long_as_a_member_can_be_redriven", {"reported": "of what follows it"}),),
        histories=False,
    ),
    "failures stay unread": Build(
        sql("failures", "read", "task_id = ?", "task_id = ? AND 0"),
        (
            ("test_who_reads_the_result_has_heard", {}),
            ("test_one_that_was_sent_again_and_succeeds_is_none_any_more", {}),
            ("test_a_failure_that_is_put_right_is_none", {}),
        ),
        histories=False,
    ),
    "failures stay unread whose letters are dealt with": Build(
        sql("failures", "read_all", "DELETE FROM failure WHERE", "DELETE FROM failure WHERE 0 AND"),
        tuple(
            ("test_who_deals_with_its_dead_letter_has_heard", {"deed": deed})
            for deed in ("acknowledged", "redriven", "purged")
        ),
        histories=False,
    ),
    "letters of one task are redriven together": Build(
        replaced(redriving, "_apart", lambda redrives: [list(range(len(redrives)))]),
        (
            ("test_of_one_task_s_letters_one_is_redriven", {}),
            ("test_of_those_with_one_key_the_first_is_redriven", {}),
        ),
        histories=False,
    ),
    "a failure that is told is unread": Build(
        replaced(
            failures, "note", lambda raw, record, *rest, **how: _note(raw, replace(record, told=False), *rest, **how)
        ),
        (("test_one_that_is_told_otherwise_is_none", {}),),
        histories=False,
    ),
    "unread failures go with their history": Build(
        sql("failures", "prune", "AND lettered = 0", ""),
        (("test_one_is_kept_as_long_as_history_or_its_letter", {}),),
        histories=False,
    ),
    "a zombie saves where it is": Build(
        sql("checkpoints", "save", "deliveries = ?8", "?8 IS NOT NULL"),
        (("test_who_has_lost_the_lease_saves_nothing", {}),),
        histories=False,
    ),
    "who tells its progress loses its cursors": Build(
        sql("checkpoints", "save", "coalesce(excluded.cursors, cursors)", "excluded.cursors"),
        (("test_progress_alone_leaves_the_cursors", {}),),
        histories=False,
    ),
    "a checkpoint is pruned under its dead letter": Build(
        sql("checkpoints", "prune_open", "FROM dead_letter WHERE", "FROM dead_letter WHERE 0 AND"),
        (("test_a_dead_letter_keeps_its_cursors_for_a_redrive", {}),),
        histories=False,
    ),
    "who gives way keeps its place": Build(
        sql("queue", "go_behind", "WHERE id = ?", "WHERE id = ? AND 0"),
        (("test_what_gives_way_waits_behind_all_that_waits_now", {}),),
        histories=False,
    ),
    "who gives way is followed by another of its number": Build(
        reused_numbers, (("test_the_lease_of_who_gave_way_is_nobodys", {}),), histories=False
    ),
    "a circuit's state is replaced by who has read another": Build(
        sql("circuits", "write", "AND version = ?2", "AND ?2"),
        (("test_only_what_was_read_is_replaced", {}),),
        histories=False,
    ),
    "two are the first to write a circuit": Build(
        sql("circuits", "make", "DO NOTHING", "DO UPDATE SET state = excluded.state"),
        (("test_two_cannot_both_be_the_first", {}),),
        histories=False,
    ),
    "what is put off counts as a crash": Build(
        sql("queue", "release", "crashes = crashes + ?2", "crashes = crashes + (?1 IS NOT NULL)"),
        (("test_what_is_put_off_waits_and_counts_nothing", {}),),
        histories=False,
    ),
    "a chord goes before those within it": Build(
        sql("dead_letters", "hold_chord_with", "WHERE group_id = ?1", "WHERE group_id IS NULL"),
        (("test_so_do_the_chords_round_it", {}),),
        histories=False,
    ),
    "the groups of a header expire as a result does": Build(
        sql("ledger", "prune_groups", "state <> 'sent'", "false"),
        (("test_the_groups_of_a_header_stay_as_long_as_its_chord_waits", {}),),
        histories=False,
    ),
    "a chord fails for what was put right": Build(
        sql("ledger", "chord_close", "?2 <> 'failed' OR EXISTS", "true OR EXISTS"),
        (("test_who_saw_a_failure_that_was_put_right_since_closes_nothing", {}),),
        histories=False,
    ),
    "a chord fails once": Build(
        sql("ledger", "chord_complete", "(?3 OR NOT EXISTS", "(?3 < 0 OR NOT EXISTS"),
        (("test_a_failed_chord_fails_anew_with_a_member_that_does", {}),),
        histories=False,
    ),
    "a chord is closed twice": Build(
        sql("ledger", "chord_close", "AND state = 'open'", ""),
        (("test_it_is_closed_once", {}),),
        histories=False,
    ),
    "limits: no slots are taken": Build(
        replaced(limits, "take_slots", lambda *_: None),
        (("test_no_more_run_at_once_than_there_are_slots", {}),),
        histories=False,
    ),
    "limits: what expired starts": Build(
        replaced(limits, "_is_over", lambda *_: False),
        (
            ("test_what_expired_as_it_waited_takes_no_slot_and_no_start", {"crashed": False}),
            ("test_what_expired_as_it_waited_takes_no_slot_and_no_start", {"crashed": True}),
            ("test_what_expired_gives_its_turn_to_the_next_beside_another_broker_too", {}),
        ),
        histories=False,
    ),
    "limits: a clock that was set back is not noticed": Build(
        replaced(limits.LimitsPart, "_is_late", lambda *_: False),
        (("test_a_clock_that_was_set_back_holds_no_rate_up_for_longer_than_a_start", {}),),
        histories=False,
    ),
    "limits: a suspect asks nobody": Build(
        replaced(limits, "_admits", lambda *_: True),
        (("test_a_suspect_that_may_not_start_holds_up_nobody", {}),),
        histories=False,
    ),
    "limits: room is not passed on": Build(
        replaced(Buckets, "with_room", lambda _: {}),
        (("test_a_slot_that_one_cannot_use_goes_to_another", {}),),
        histories=False,
    ),
    "limits: one queue is told of what is free": Build(
        sql(
            "limits",
            "blocked_queues",
            "SELECT queue FROM found WHERE queue IS NOT NULL",
            "SELECT max(queue) FROM found",
        ),
        (("test_a_queue_without_a_worker_keeps_nobody_waiting", {}),),
        histories=False,
    ),
    "limits: what is due goes past its lane": Build(
        sql("queue", "promote", "iif(limits IS NULL, 0, 7)", "0"),
        (("test_delayed_messages_come_to_their_lane_when_they_are_due", {}),),
        histories=False,
    ),
    "pauses: claims leave no queue out": Build(
        replaced(relational_queue.QueuePart, "paused", lambda _: set()),
        (
            ("test_a_paused_queue_is_left_out", {}),
            ("test_a_queue_and_a_task_of_it_are_paused_apart", {}),
        ),
        histories=False,
    ),
    "pauses: what is claimed of a paused task is given out": Build(
        sql("pauses", "set_aside", "name IN (SELECT name FROM pause WHERE kind = 'task')", "0"),
        (
            ("test_a_paused_task_is_set_aside_in_every_queue", {}),
            ("test_what_a_broker_delivers_of_a_paused_task_waits_in_the_ledger", {}),
            ("test_suspects_are_held_and_come_back_as_such", {}),
        ),
        histories=False,
    ),
    "pauses: what is set aside counts as delivered": Build(
        sql("pauses", "set_aside", "deliveries - ?1", "deliveries + 0 * ?1"),
        (("test_a_paused_task_is_set_aside_in_every_queue", {}),),
        histories=False,
    ),
    "pauses: lanes are claimed from first": Build(
        replaced(pauses, "sweep_lanes", lambda _: 0),
        (("test_limited_ones_take_no_slot_and_spend_no_rate", {}),),
        histories=False,
    ),
    "pauses: what is revoked is held": Build(
        sql("pauses", "set_aside", "revoked.task_id = message.task_id", "0"),
        (("test_what_is_revoked_is_ended_in_spite_of_the_pause", {}),),
        histories=False,
    ),
    "pauses: a resume lets one slice go": Build(
        replaced(pauses.PausesPart, "_let_go_of", pauses.PausesPart._let_some_go),
        (("test_many_paused_messages_are_passed_once", {}),),
        histories=False,
    ),
    "pauses: who resumes another task lets all go": Build(
        all_of(
            sql("pauses", "held_names", "AND name NOT IN (SELECT pause.name FROM pause WHERE kind = 'task')", ""),
            sql("pauses", "let_go", "AND pause.name = ?1)", "AND 0)"),
        ),
        (("test_a_resume_that_died_is_gone_on_with", {}),),
        histories=False,
    ),
    "pauses: suspects are forgotten": Build(
        sql("pauses", "let_go", "iif(crashes > 0, 4, iif(limits IS NULL, 0, 7))", "iif(limits IS NULL, 0, 7)"),
        (("test_suspects_are_held_and_come_back_as_such", {}),),
        histories=False,
    ),
    "pauses: limited ones come back past their lane": Build(
        sql("pauses", "let_go", "iif(limits IS NULL, 0, 7)", "0"),
        (("test_limited_ones_take_no_slot_and_spend_no_rate", {}),),
        histories=False,
    ),
    "pauses: the relay gives a paused queue's out": Build(
        sql("queue", "take_for_relay", "AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')", ""),
        (
            ("test_a_broker_is_given_nothing_of_what_is_paused", {}),
            ("test_what_the_broker_was_given_of_a_paused_queue_is_not_given_again", {}),
        ),
        histories=False,
    ),
    "pauses: suspects of a paused queue are made way for": Build(
        sql("queue", "last_chances", "AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')", ""),
        (("test_suspects_of_a_paused_queue_hold_up_nobody", {}),),
        histories=False,
    ),
    "limits: rates are not kept": Build(
        replaced(limits, "write_rates", lambda *_: None),
        (("test_a_rate_spreads_starts", {}),),
        histories=False,
    ),
}


@pytest.fixture
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    build = BUILDS[request.param]
    build.take_out(monkeypatch)
    yield build
    monkeypatch.undo()


@pytest.mark.parametrize("broken", BUILDS, indirect=True)
def test_checks_notice(broken: Build, tmp_path: Path) -> None:
    for number, (name, parameters) in enumerate(broken.checks):
        harness = SQLiteHarness(tmp_path / f"{number}.db")
        with pytest.raises(NOTICED):
            run_check(StoreConformance, name, harness, **parameters)
        harness.close()


@pytest.mark.parametrize("broken", [name for name, build in BUILDS.items() if build.histories], indirect=True)
def test_random_histories_notice(broken: Build) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(queue_machine(TemporaryHarness), settings=_QUICK)


#: Always the same histories, and the first that fails is enough.
_QUICK = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
CHECKS = sorted({(name, str(parameters)) for build in BUILDS.values() for name, parameters in build.checks})


@pytest.mark.parametrize("check", CHECKS, ids=" ".join)
def test_the_same_checks_pass_on_the_whole_store(check: tuple[str, str], tmp_path: Path) -> None:
    """Otherwise they would notice nothing."""
    [parameters] = [known for build in BUILDS.values() for name, known in build.checks if (name, str(known)) == check][
        :1
    ]
    harness = SQLiteHarness(tmp_path / "shop.db")
    run_check(StoreConformance, check[0], harness, **parameters)
    harness.close()
