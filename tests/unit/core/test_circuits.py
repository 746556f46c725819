# expected figures are the point of a table
"""When a circuit opens, whom it lets through, and when it closes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from celeriac.core import circuits
from celeriac.core.circuit import Circuit, declared
from celeriac.core.circuits import NEW, KeptBack, Permit, Phase, Slice, State, Through
from celeriac.errors import OptionError

NOW = 1_700_000_000.0
GATEWAY = Circuit("gateway", failures=0.5, window=60, minimum=10, open_for=30)


def half() -> float:
    return 0.5


def ended(succeeded: int, failed: int, *, circuit: Circuit = GATEWAY, at: float = NOW) -> list[Slice]:
    return [Slice(circuits.slice_of(circuit, at), succeeded, failed)]


def opened(circuit: Circuit = GATEWAY, at: float = NOW) -> State:
    return circuits.opened(circuit, NEW, at)


def probe(circuit: Circuit, state: State, now: float, holder: str = "a") -> tuple[State, Permit]:
    state, answer = circuits.asked(circuit, state, holder, now, half)
    assert isinstance(answer, Through)
    assert answer.permit is not None
    return state, answer.permit


def kept_back(circuit: Circuit, state: State, now: float, holder: str = "b") -> tuple[State, float]:
    state, answer = circuits.asked(circuit, state, holder, now, half)
    assert isinstance(answer, KeptBack)
    return state, answer.until


# -- opening


@pytest.mark.parametrize(
    ("succeeded", "failed", "phase"),
    [
        (0, 9, Phase.CLOSED),  # too few to say
        (0, 10, Phase.OPEN),
        (5, 5, Phase.OPEN),  # the share itself is enough
        (6, 5, Phase.CLOSED),
        (100, 100, Phase.OPEN),
        (1000, 0, Phase.CLOSED),
    ],
)
def test_it_opens_when_enough_calls_have_failed(succeeded: int, failed: int, phase: Phase) -> None:
    state = circuits.counted(GATEWAY, NEW, ended(succeeded, failed), 0, NOW)
    assert state.phase is phase
    assert state.until == (NOW + 30 if phase is Phase.OPEN else None)


@pytest.mark.parametrize(
    ("failures", "failed", "phase"), [(1.0, 9, Phase.CLOSED), (1.0, 10, Phase.OPEN), (0.01, 1, Phase.OPEN)]
)
def test_the_share_is_the_circuits_own(failures: float, failed: int, phase: Phase) -> None:
    circuit = replace(GATEWAY, failures=failures)
    assert circuits.counted(circuit, NEW, ended(10 - failed, failed), 0, NOW).phase is phase


def test_what_several_processes_counted_adds_up() -> None:
    state = NEW
    for _ in range(4):
        state = circuits.counted(GATEWAY, state, ended(1, 2), 0, NOW)
    assert state.phase is Phase.OPEN


def test_what_has_left_the_window_is_not_counted() -> None:
    state = circuits.counted(GATEWAY, NEW, ended(0, 9), 0, NOW)
    later = NOW + 60 + GATEWAY.width
    state = circuits.counted(GATEWAY, state, ended(0, 9, at=later), 0, later)
    assert (state.phase, circuits.totals(state.slices)) == (Phase.CLOSED, (0, 9))


def test_what_is_told_late_counts_for_when_it_was() -> None:
    late = circuits.counted(GATEWAY, NEW, ended(0, 50, at=NOW - 70), 0, NOW)
    assert (late.phase, late.slices) == (Phase.CLOSED, ())
    assert circuits.counted(GATEWAY, NEW, ended(0, 50, at=NOW - 40), 0, NOW).phase is Phase.OPEN


@pytest.mark.parametrize("window", [20, 90, 600])
def test_who_declares_another_window_knows_what_was_counted_all_the_same(window: float) -> None:
    other = replace(GATEWAY, window=window, minimum=100)
    state = circuits.counted(GATEWAY, NEW, ended(5, 4), 0, NOW)
    for number in range(6):
        state = circuits.counted(other, state, ended(1, 0, circuit=other), 0, NOW)
        state = circuits.counted(GATEWAY, state, ended(1, 0), 0, NOW)
        assert circuits.totals(state.slices) == (7 + 2 * number, 4)


def test_of_a_longer_window_what_is_too_old_is_forgotten() -> None:
    longer = replace(GATEWAY, window=600, minimum=100)
    state = circuits.counted(longer, NEW, ended(0, 9, circuit=longer, at=NOW - 300), 0, NOW)
    assert circuits.totals(circuits.recent(GATEWAY, state, NOW)) == (0, 0)
    assert circuits.totals(circuits.recent(longer, state, NOW)) == (0, 9)


# -- what others have to tell


def succeeding(*names: str, at: float = NOW) -> State:
    """Each of these processes has told of one call."""
    state = NEW
    for name in names:
        state = circuits.counted(GATEWAY, state, ended(1, 0, at=at), 0, at, name)
    return state


def test_before_it_opens_who_has_just_succeeded_is_heard_once_more() -> None:
    state = circuits.counted(GATEWAY, succeeding("a"), ended(0, 10), 0, NOW + 0.2, "b")
    assert (state.phase, state.doubted) == (Phase.CLOSED, NOW + 0.2)
    state = circuits.counted(GATEWAY, state, ended(90, 0), 0, NOW + 1, "a")
    assert (state.phase, state.doubted) == (Phase.CLOSED, None)
    assert circuits.totals(state.slices) == (91, 10)


def test_when_they_know_of_nothing_better_it_opens_at_once() -> None:
    state = circuits.counted(GATEWAY, succeeding("a", "c"), ended(0, 10), 0, NOW + 0.2, "b")
    state = circuits.counted(GATEWAY, state, ended(0, 1), 0, NOW + 0.3, "a")
    assert state.phase is Phase.CLOSED
    assert circuits.counted(GATEWAY, state, (), 0, NOW + 0.3, "c").phase is Phase.OPEN


def test_who_is_not_heard_of_is_not_waited_for_for_long() -> None:
    state = succeeding("a")
    for at in (0.2, 0.9, circuits.PATIENCE - 0.1):
        state = circuits.counted(GATEWAY, state, ended(0, 10, at=NOW + at), 0, NOW + at, "b")
        assert state.phase is Phase.CLOSED
    later = NOW + circuits.PATIENCE + 0.1
    assert circuits.counted(GATEWAY, state, (), 0, later, "b").phase is Phase.OPEN


def test_where_nobody_succeeds_nobody_is_waited_for() -> None:
    state = circuits.counted(GATEWAY, NEW, ended(0, 5), 0, NOW, "a")
    assert circuits.counted(GATEWAY, state, ended(0, 5), 0, NOW, "b").phase is Phase.OPEN
    assert circuits.counted(GATEWAY, succeeding("b"), ended(1, 10), 0, NOW + 0.1, "b").phase is Phase.OPEN


def test_a_clock_that_was_put_back_has_nobody_waited_for() -> None:
    state = circuits.counted(GATEWAY, succeeding("a"), ended(0, 10), 0, NOW + 0.2, "b")
    back = NOW - 30
    assert circuits.counted(GATEWAY, state, ended(0, 10, at=back), 0, back, "b").phase is Phase.OPEN


def test_an_open_circuit_counts_no_calls_that_began_before() -> None:
    state = opened()
    assert circuits.counted(GATEWAY, state, ended(100, 100), 0, NOW + 1) == state


# -- keeping back


def test_an_open_circuit_keeps_back_until_it_half_opens() -> None:
    _, until = kept_back(GATEWAY, opened(), NOW + 10)
    assert NOW + 30 <= until <= NOW + 32


def test_many_who_wait_come_back_one_after_the_other() -> None:
    """A hundred thousand are not back within a second, nor within a minute."""
    state, rng, back = opened(), random.Random(7).random, Counter[int]()
    for number in range(100_000):
        state, answer = circuits.asked(GATEWAY, state, str(number), NOW + number / 10_000, rng)
        assert isinstance(answer, KeptBack)
        back[int(answer.until - NOW)] += 1
    assert min(back) == 30
    assert max(back.values()) <= 1.5 * circuits.PACE
    assert max(back) == pytest.approx(30 + 100_000 / circuits.PACE, abs=2)


def test_where_more_were_called_more_come_back() -> None:
    busy = circuits.counted(GATEWAY, NEW, ended(30_000, 30_000), 0, NOW)
    assert busy.pace == 1000
    _, until = kept_back(GATEWAY, circuits.counted(GATEWAY, busy, (), 10_000, NOW), NOW)
    assert until == pytest.approx(NOW + 40.5, abs=0.1)


def test_what_other_processes_kept_back_counts() -> None:
    state = circuits.counted(GATEWAY, opened(), (), 5_000, NOW)
    _, until = kept_back(GATEWAY, state, NOW)
    assert until >= NOW + 30 + 50


def test_opened_by_hand_it_stays_open() -> None:
    state = circuits.opened(GATEWAY, NEW, NOW, by_hand=True, by="ada", note="the gateway moves")
    assert (state.until, state.by, state.note) == (None, "ada", "the gateway moves")
    for later in (1, 31, 86_400):
        state, until = kept_back(GATEWAY, state, NOW + later)
        assert NOW + later < until <= NOW + later + 32
    assert circuits.closed(state, NOW + 9).phase is Phase.CLOSED


def test_opened_by_hand_for_a_time_it_half_opens_after_it() -> None:
    state = circuits.opened(GATEWAY, NEW, NOW, seconds=600, by_hand=True)
    kept_back(GATEWAY, state, NOW + 599)
    probe(GATEWAY, state, NOW + 600)


def test_opened_by_hand_for_hours_who_waits_still_comes_to_see_whether_it_is_closed() -> None:
    state = circuits.opened(GATEWAY, NEW, NOW, seconds=7200, by_hand=True)
    for later in (0, 31, 3600):
        state, until = kept_back(GATEWAY, state, NOW + later)
        assert NOW + later + 30 <= until <= NOW + later + 32
    _, until = kept_back(GATEWAY, state, NOW + 7195)
    assert NOW + 7200 <= until <= NOW + 7202


def test_who_comes_back_again_and_again_is_not_counted_as_more_who_wait() -> None:
    state = circuits.opened(GATEWAY, NEW, NOW, by_hand=True)
    for later in range(0, 3600, 40):  # a thousand tasks, each back after half a minute and its turn
        back = []
        for _ in range(1000):
            state, until = kept_back(GATEWAY, state, NOW + later)
            back.append(until)
        assert max(back) <= NOW + later + 30 + 1000 / circuits.PACE + 1
    assert state.waiting == 90_000


# -- half-open


def test_one_probes_and_the_others_wait() -> None:
    state, _ = probe(GATEWAY, opened(), NOW + 30)
    assert state.phase is Phase.HALF_OPEN
    state, until = kept_back(GATEWAY, state, NOW + 30.1)
    assert NOW + 31 < until <= NOW + 30.1 + 2 * circuits.ASK_AGAIN


def test_a_probe_that_succeeds_closes_it_and_counting_begins_anew() -> None:
    failing = circuits.counted(GATEWAY, NEW, ended(0, 10), 0, NOW)
    state, permit = probe(GATEWAY, failing, NOW + 30)
    state = circuits.told(GATEWAY, state, permit, NOW + 31, succeeded=True)
    assert (state.phase, state.slices, state.permits, state.waiting) == (Phase.CLOSED, (), (), 0)
    assert circuits.asked(GATEWAY, state, "c", NOW + 31, half) == (state, Through())
    assert circuits.counted(GATEWAY, state, ended(0, 9, at=NOW + 31), 0, NOW + 31).phase is Phase.CLOSED


def test_a_probe_that_fails_opens_it_again() -> None:
    state, permit = probe(GATEWAY, opened(), NOW + 30)
    state = circuits.told(GATEWAY, state, permit, NOW + 35, succeeded=False)
    assert (state.phase, state.until, state.permits) == (Phase.OPEN, NOW + 65, ())


def test_a_probe_whose_end_says_nothing_makes_room_for_another() -> None:
    state, permit = probe(GATEWAY, opened(), NOW + 30)
    state = circuits.told(GATEWAY, state, permit, NOW + 31, succeeded=None)
    assert state.phase is Phase.HALF_OPEN
    probe(GATEWAY, state, NOW + 31, "b")


def test_all_of_several_probes_must_succeed() -> None:
    circuit = replace(GATEWAY, probes=2)
    state, first = probe(circuit, opened(circuit), NOW + 30, "a")
    state, second = probe(circuit, state, NOW + 30, "b")
    state, _ = kept_back(circuit, state, NOW + 30, "c")
    state = circuits.told(circuit, state, first, NOW + 31, succeeded=True)
    assert state.phase is Phase.HALF_OPEN
    state, _ = kept_back(circuit, state, NOW + 31, "c")
    assert circuits.told(circuit, state, second, NOW + 32, succeeded=False).phase is Phase.OPEN
    assert circuits.told(circuit, state, second, NOW + 32, succeeded=True).phase is Phase.CLOSED


def test_a_dead_prober_blocks_nobody() -> None:
    state, dead = probe(GATEWAY, opened(), NOW + 30)
    state, _ = kept_back(GATEWAY, state, NOW + 59)
    state, permit = probe(GATEWAY, state, NOW + 60.1, "b")
    # Heard of after all, it is no longer the one that counts.
    assert circuits.told(GATEWAY, state, dead, NOW + 61, succeeded=False) == state
    assert circuits.told(GATEWAY, state, permit, NOW + 61, succeeded=True).phase is Phase.CLOSED


@pytest.mark.parametrize("succeeded", [True, False, None])
def test_a_probe_of_a_circuit_that_was_closed_by_hand_changes_nothing(succeeded: bool | None) -> None:
    state, permit = probe(GATEWAY, opened(), NOW + 30)
    state = circuits.closed(state, NOW + 31)
    assert circuits.told(GATEWAY, state, permit, NOW + 32, succeeded=succeeded) == state


def test_every_change_of_phase_is_a_round_of_its_own() -> None:
    state = opened()
    assert state.round == 1
    state, permit = probe(GATEWAY, state, NOW + 30)
    assert state.round == 2
    assert circuits.told(GATEWAY, state, permit, NOW + 31, succeeded=True).round == 3


# -- time


def test_a_clock_that_was_put_back_keeps_nobody_waiting_for_it() -> None:
    state, until = kept_back(GATEWAY, opened(at=NOW + 7200), NOW)
    assert until <= NOW + 32
    probe(GATEWAY, state, NOW + 31)


def test_opened_by_hand_for_a_time_it_stays_so_for_that_time_when_the_clock_was_put_back() -> None:
    state = circuits.opened(GATEWAY, NEW, NOW + 7200, seconds=3600, by_hand=True)
    assert circuits.in_time(GATEWAY, state, NOW).until == NOW + 3600
    assert circuits.in_time(GATEWAY, circuits.opened(GATEWAY, NEW, NOW + 7200, by_hand=True), NOW).until is None


def test_clocks_that_differ_a_little_change_nothing() -> None:
    assert circuits.in_time(GATEWAY, state := opened(at=NOW + 5), NOW) is state


# -- as a text


def test_a_state_survives_being_written() -> None:
    state, _ = probe(replace(GATEWAY, probes=3), opened(), NOW + 30)
    state = replace(state, slices=tuple(ended(3, 4)), width=6.0, by="ada", note="ü")
    state = replace(state, succeeding=(("a", NOW),), doubted=NOW, numbers=GATEWAY.numbers)
    assert circuits.load(circuits.dump(state)) == state
    assert circuits.load(None) == NEW


def test_what_a_newer_version_adds_is_left_out() -> None:
    text = circuits.dump(opened())
    assert circuits.load(text[:-1] + ',"mood":"good"}') == opened()


# -- declarations


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "printable name"),
        ({"name": "a\nb"}, "printable name"),
        ({"name": 7}, "printable name"),
        ({"failures": 0}, "over 0 and up to 1"),
        ({"failures": 5}, "over 0 and up to 1"),
        ({"failures": float("nan")}, "over 0 and up to 1"),
        ({"window": 0}, "up to a week"),
        ({"open_for": -1}, "up to a week"),
        ({"open_for": float("inf")}, "up to a week"),
        ({"minimum": 0}, "whole number from 1"),
        ({"minimum": 2.5}, "whole number from 1"),
        ({"probes": True}, "whole number from 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Circuit(**{"name": "gateway", **options})


@pytest.mark.parametrize("on", [(), 7, "OSError", (OSError, 7), int])
def test_what_tells_no_errors_is_refused(on: Any) -> None:
    with pytest.raises(TypeError, match="exception types"):
        Circuit("gateway", on=on)


@pytest.mark.parametrize(
    ("on", "error", "counts"),
    [
        (OSError, ConnectionRefusedError(), True),
        (OSError, ValueError(), False),
        ((OSError, KeyError), KeyError(), True),
        (lambda error: "503" in str(error), RuntimeError("503"), True),
        (lambda error: "503" in str(error), RuntimeError("404"), False),
    ],
)
def test_which_errors_count(on: Any, error: Exception, counts: bool) -> None:
    assert Circuit("gateway", on=on).counts(error) is counts


def test_a_task_declares_one_or_several() -> None:
    mail = Circuit("mail")
    assert declared("shop.pay", GATEWAY, {}) == (GATEWAY,)
    assert declared("shop.pay", [GATEWAY, mail], {"mail": mail}) == (GATEWAY, mail)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("gateway", "no list of Circuit"),
        (["gateway"], "no list of Circuit"),
        ([GATEWAY, GATEWAY], "two circuits have the name 'gateway'"),
        (replace(GATEWAY, open_for=99), "elsewhere 'gateway' is .*open_for=30.*open_for=99.*make it one value"),
        ([Circuit(str(number)) for number in range(9)], "9 circuits are too many"),
    ],
)
def test_a_declaration_that_contradicts_itself_names_task_option_and_remedy(option: Any, said: str) -> None:
    with pytest.raises(OptionError, match=f"task shop.pay, option circuits: .*{said}"):
        declared("shop.pay", option, {"gateway": GATEWAY})
