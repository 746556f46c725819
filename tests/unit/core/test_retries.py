from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.retries import OFF, UNDECLARED, GiveUp, Retries, RetryAt, decide
from celeriac.core.retry_options import policy_of
from celeriac.errors import OptionError

REFUSED = ConnectionRefusedError(111, "refused")
LOST = ConnectionResetError(104, "reset")
BUG = ValueError("bug")
NOW = 1_000_000.0
NEVER_SENT, ANSWER_LOST = "connection never established", "answer lost"


def whole() -> float:
    """The longest wait that jitter allows."""
    return 1.0


@pytest.mark.parametrize(
    ("option", "error", "keyed", "retries", "expected"),
    [
        # Nothing declared: only what was never sent, and under a key also what got no answer.
        (None, REFUSED, False, 0, RetryAt(NOW + 5, NEVER_SENT)),
        (None, REFUSED, True, 1, RetryAt(NOW + 10, NEVER_SENT)),
        (None, REFUSED, False, 2, RetryAt(NOW + 20, NEVER_SENT)),
        (None, REFUSED, False, 3, GiveUp("exhausted")),
        (None, LOST, False, 0, GiveUp("permanent")),
        (None, LOST, True, 0, RetryAt(NOW + 5, ANSWER_LOST)),
        (None, LOST, True, 3, GiveUp("exhausted")),
        (None, TimeoutError(), False, 0, GiveUp("permanent")),
        (None, TimeoutError(), True, 0, RetryAt(NOW + 5, ANSWER_LOST)),
        (None, BUG, True, 0, GiveUp("permanent")),
        (None, BUG, True, 9, GiveUp("permanent")),
        # Off.
        (False, REFUSED, True, 0, GiveUp("permanent")),
        # A number: every Exception, that many times.
        (2, BUG, False, 0, RetryAt(NOW + 5, "declared")),
        (2, LOST, False, 1, RetryAt(NOW + 10, "declared")),
        (2, BUG, False, 2, GiveUp("exhausted")),
        (0, BUG, False, 0, GiveUp("exhausted")),
        (2, SystemExit(1), False, 0, GiveUp("permanent")),
        # A policy of one's own.
        (Retries(1, backoff=60, on=(KeyError,)), KeyError("x"), False, 0, RetryAt(NOW + 60, "declared")),
        (Retries(1, on=(KeyError,)), REFUSED, True, 0, GiveUp("permanent")),
        (Retries(1, on=KeyError), BUG, False, 0, GiveUp("permanent")),
        (Retries(on=lambda error: "bug" in str(error)), BUG, False, 0, RetryAt(NOW + 5, "declared")),
        (Retries(on=lambda error: "bug" in str(error)), KeyError("x"), False, 0, GiveUp("permanent")),
        (Retries(None, backoff=600), BUG, False, 10_000, RetryAt(NOW + 600, "declared")),
    ],
)
def test_decide(option: object, error: BaseException, keyed: bool, retries: int, expected: object) -> None:
    policy = policy_of("shop.charge", option)
    assert decide(policy, retries=retries, error=error, keyed=keyed, now=NOW, rng=whole) == expected


@given(st.integers(0, 10**6), st.floats(0.01, 600), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_jittered_over_its_whole_length_and_capped(retries: int, backoff: float, chance: float) -> None:
    policy = Retries(None, backoff=backoff)
    assert policy.delay(retries, lambda: chance) == pytest.approx(
        chance * min(600.0, backoff * 2.0 ** min(retries, 64))
    )


def test_without_jitter_the_dice_are_not_thrown() -> None:
    def never() -> float:
        raise AssertionError

    assert Retries(jitter=False, backoff=1).delay(3, never) == 8


def test_real_jitter_spreads() -> None:
    waits = [Retries(backoff=600).delay(0) for _ in range(200)]
    assert min(waits) < 300 < max(waits)
    assert all(0 <= wait <= 600 for wait in waits)


@pytest.mark.parametrize("option", [True, -1, 1.5, "3", (), object(), ValueError])
def test_a_retries_option_that_means_nothing_names_the_task(option: object) -> None:
    with pytest.raises(OptionError, match=r"task shop\.charge, option retries: .*neither a number"):
        policy_of("shop.charge", option)


def test_the_app_can_set_the_pace_of_what_is_not_declared() -> None:
    slow = UNDECLARED.__class__(backoff=30)
    assert policy_of("t", None, undeclared=slow) is slow
    assert policy_of("t", 7, pace=slow) == Retries(7, backoff=30)
    assert policy_of("t", False, undeclared=slow) is OFF


@pytest.mark.parametrize(
    "build",
    [
        lambda: Retries(-1),
        lambda: Retries(True),
        lambda: Retries(1.5),  # type: ignore[arg-type]
        lambda: Retries(backoff=0),
        lambda: Retries(backoff=700),
        lambda: Retries(cap=float("nan")),
    ],
)
def test_impossible_policies(build: Callable[[], Retries]) -> None:
    with pytest.raises(ValueError, match="Retries"):
        build()


@pytest.mark.parametrize("on", ["ConnectionError", (1, 2), 3])
def test_on_takes_types_or_a_function(on: object) -> None:
    with pytest.raises(TypeError, match="exception types, or a function"):
        Retries(on=on)  # type: ignore[arg-type]


def test_policies_and_decisions_are_values() -> None:
    assert pickle.loads(pickle.dumps(UNDECLARED)) == UNDECLARED
    assert Retries() != UNDECLARED
    assert len({RetryAt(1.0, "declared"), RetryAt(1.0, "declared"), GiveUp("exhausted")}) == 2
