from __future__ import annotations

import pickle
import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.retries import ASKED, OFF, UNDECLARED, GiveUp, Retries, RetryAt, decide
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


HALF = 0.5


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (Retries(backoff=3, jitter="none"), [3, 6, 12, 24]),
        (Retries(backoff=3, cap=10, jitter="none"), [3, 6, 10, 10]),
        (Retries(backoff=3, growth="linear", jitter="none"), [3, 6, 9, 12]),
        (Retries(backoff=3, growth="linear", cap=7, jitter="none"), [3, 6, 7, 7]),
        (Retries(backoff=3, growth="fixed", jitter="none"), [3, 3, 3, 3]),
        (Retries(backoff=0, growth="fixed"), [0, 0, 0, 0]),
        (Retries(backoff=(1, 10, 60)), [1, 10, 60, 60]),
        (Retries(backoff=lambda retries: retries**2), [0, 1, 4, 9]),
        (Retries(backoff=lambda retries: 10.0**retries, cap=50), [1, 10, 50, 50]),
        # The throw of the dice is a half here.
        (Retries(backoff=4), [2, 4, 8, 16]),
        (Retries(backoff=4, cap=8), [2, 4, 4, 4]),
        (Retries(backoff=4, jitter="equal"), [3, 6, 12, 24]),
        (Retries(backoff=(1, 10, 60), jitter="equal"), [0.75, 7.5, 45, 45]),
        (Retries(backoff=4, growth="linear", jitter=True), [2, 4, 6, 8]),
    ],
)
def test_how_waits_grow(policy: Retries, waits: list[float]) -> None:
    assert [policy.delay(retries, lambda: HALF) for retries in range(4)] == waits


@pytest.mark.parametrize(
    ("policy", "asked", "wait"),
    [
        # No sooner than the server asks, and no later than the cap.
        (Retries(backoff=5, jitter="none"), 30, 30),
        (Retries(backoff=60, jitter="none"), 30, 60),
        (Retries(backoff=5, jitter="none", cap=20), 30, 20),
        (Retries(backoff=5, jitter="none"), 0, 5),
        # Told the same moment, they do not all come at that moment.
        (Retries(backoff=4), 30, 32),
        (Retries(backoff=60), 1, 30),
        (Retries(backoff=4), 1, 2),
        (Retries(backoff=3), 1, 2),
        (Retries(backoff=4, cap=31), 30, 31),
    ],
)
def test_a_wait_that_a_server_asked_for(policy: Retries, asked: float, wait: float) -> None:
    assert policy.delay(0, lambda: HALF, asked=asked) == wait


@given(
    st.integers(0, 10**6),
    st.floats(0.01, 600),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 10**9),
    st.sampled_from(["full", "equal", "none"]),
)
def test_no_wait_is_over_the_cap_or_short_of_what_was_asked(
    retries: int, backoff: float, chance: float, asked: float | None, jitter: Any
) -> None:
    wait = Retries(None, backoff=backoff, jitter=jitter).delay(retries, lambda: chance, asked=asked)
    assert 0 <= wait <= 600
    assert asked is None or wait >= min(asked, 600)


def test_a_seed_repeats_the_waits() -> None:
    first, second = random.Random(7), random.Random(7)
    policy = Retries(None, backoff=1)
    assert [policy.delay(n, first.random) for n in range(9)] == [policy.delay(n, second.random) for n in range(9)]


@pytest.mark.parametrize("returned", [-1, float("nan"), "soon", None, True])
def test_a_backoff_function_that_returns_no_wait(returned: Any) -> None:
    with pytest.raises(ValueError, match="backoff function returned"):
        Retries(backoff=lambda _: returned).delay(0)


# -- the budget


@pytest.mark.parametrize(
    ("policy", "retries", "since", "expected"),
    [
        (Retries(None, backoff=60, jitter="none", budget=100), 0, NOW, RetryAt(NOW + 60, "declared")),
        (Retries(None, backoff=60, jitter="none", budget=100), 0, NOW - 40, RetryAt(NOW + 60, "declared")),
        (Retries(None, backoff=60, jitter="none", budget=100), 0, NOW - 41, GiveUp("budget")),
        (Retries(None, backoff=60, jitter="none", budget=100), 1, NOW, GiveUp("budget")),
        # The number of retries is looked at first, and an error that is not retried before either.
        (Retries(1, backoff=60, jitter="none", budget=100), 1, NOW - 1000, GiveUp("exhausted")),
        (Retries(1, on=KeyError, budget=100), 0, NOW - 1000, GiveUp("permanent")),
        # Without a budget it does not matter when it began, and without that the budget begins now.
        (Retries(None, backoff=60, jitter="none"), 0, 0.0, RetryAt(NOW + 60, "declared")),
        (Retries(None, backoff=60, jitter="none", budget=61), 0, None, RetryAt(NOW + 60, "declared")),
    ],
)
def test_the_budget(policy: Retries, retries: int, since: float | None, expected: object) -> None:
    assert decide(policy, retries=retries, error=BUG, keyed=False, now=NOW, since=since, rng=whole) == expected


# -- Retry-After


class HTTPError(Exception):
    """Known by the name that urllib's has."""

    def __init__(self, code: int, headers: dict[str, str]) -> None:
        super().__init__(code)
        self.code, self.headers = code, headers


HTTPError.__module__ = "urllib.error"
BUSY = HTTPError(503, {"Retry-After": "30"})
LIMITED = HTTPError(429, {"Retry-After": "30"})


def from_busy() -> Exception:
    """As ``raise GatewayBusy(…) from error`` makes it."""
    error = ValueError("busy")
    error.__cause__ = BUSY
    return error


@pytest.mark.parametrize(
    ("option", "error", "retries", "expected"),
    [
        # Nothing declared: who asks to be asked again has done nothing.
        (None, BUSY, 0, RetryAt(NOW + 35, ASKED)),
        (None, LIMITED, 2, RetryAt(NOW + 50, ASKED)),
        (None, LIMITED, 3, GiveUp("exhausted")),
        (None, from_busy(), 0, RetryAt(NOW + 35, ASKED)),
        (None, HTTPError(503, {}), 0, GiveUp("permanent")),
        (None, HTTPError(500, {"Retry-After": "30"}), 0, GiveUp("permanent")),
        (None, HTTPError(429, {"Retry-After": "soon"}), 0, GiveUp("permanent")),
        (None, HTTPError(429, {"Retry-After": "99999"}), 0, RetryAt(NOW + 600, ASKED)),
        # Declared: the policy decides whether, the server when.
        (False, BUSY, 0, GiveUp("permanent")),
        (Retries(jitter="none"), BUSY, 0, RetryAt(NOW + 30, "declared")),
        (Retries(jitter="none"), from_busy(), 0, RetryAt(NOW + 30, "declared")),
        (Retries(jitter="none", on=KeyError), BUSY, 0, GiveUp("permanent")),
        (Retries(jitter="none", cap=20), BUSY, 0, RetryAt(NOW + 20, "declared")),
        (Retries(jitter="none", budget=29), BUSY, 0, GiveUp("budget")),
        (Retries(jitter="none"), HTTPError(500, {"Retry-After": "30"}), 0, RetryAt(NOW + 5, "declared")),
    ],
)
def test_when_a_server_asks_to_come_back(option: object, error: Exception, retries: int, expected: object) -> None:
    policy = policy_of("shop.charge", option)
    assert decide(policy, retries=retries, error=error, keyed=False, now=NOW, rng=whole) == expected


# -- a policy for each kind of error

ONE, TWO = Retries(1, backoff=1, jitter="none"), Retries(2, backoff=2, jitter="none")
RULES = {(KeyError, IndexError): ONE, LookupError: TWO, TypeError: False, OSError: 4}


@pytest.mark.parametrize("option", [RULES, tuple(RULES.items()), list(RULES.items())])
@pytest.mark.parametrize(
    ("error", "retries", "expected", "policy"),
    [
        (KeyError(), 0, RetryAt(NOW + 1, "declared"), ONE),
        (KeyError(), 1, GiveUp("exhausted"), ONE),  # the count is the task's, whichever error the others were
        (IndexError(), 0, RetryAt(NOW + 1, "declared"), ONE),
        (LookupError(), 1, RetryAt(NOW + 4, "declared"), TWO),
        (TypeError(), 0, GiveUp("permanent"), None),
        (REFUSED, 3, RetryAt(NOW + 40, "declared"), Retries(4)),
        (BUG, 0, GiveUp("permanent"), None),  # none matches
    ],
)
def test_the_first_rule_that_names_the_error_is_followed(
    option: object, error: Exception, retries: int, expected: Any, policy: Retries | None
) -> None:
    decided = decide(policy_of("t", option), retries=retries, error=error, keyed=True, now=NOW, rng=whole)
    assert decided == expected
    assert decided.policy == policy


def test_a_rule_may_be_a_function() -> None:
    policy = policy_of("t", [(lambda error: "later" in str(error), 2), (Exception, False)])
    assert isinstance(decide(policy, retries=0, error=ValueError("later"), keyed=False, now=NOW), RetryAt)
    assert decide(policy, retries=0, error=BUG, keyed=False, now=NOW) == GiveUp("permanent")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"KeyError": 1}, "'KeyError' is neither exception types nor a function"),
        ({KeyError: "often"}, "'often', for <class 'KeyError'>, is neither a number from 0, False nor a Retries"),
        ({KeyError: None}, "None, for <class 'KeyError'>, is neither"),
        ({KeyError: Retries(on=IndexError)}, "has a Retries(on=...) too: say which errors in one place"),
        ({KeyError: {IndexError: 1}}, "is neither a number from 0"),
    ],
)
def test_a_rule_that_cannot_be_meant(option: object, said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        policy_of("shop.charge", option)


def test_without_jitter_the_dice_are_not_thrown() -> None:
    def never() -> float:
        raise AssertionError

    assert Retries(jitter=False, backoff=1).delay(3, never) == 8


def test_real_jitter_spreads() -> None:
    waits = [Retries(backoff=600).delay(0) for _ in range(200)]
    assert min(waits) < 300 < max(waits)
    assert all(0 <= wait <= 600 for wait in waits)


@pytest.mark.parametrize(
    "option", [True, -1, 1.5, "3", (), {}, object(), ValueError, (KeyError, 2), [KeyError], ((KeyError, 1, 2),)]
)
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
        lambda: Retries(cap=float("inf")),
        lambda: Retries(cap=0, backoff=0, growth="fixed"),
        lambda: Retries(backoff=-1, growth="fixed"),
        lambda: Retries(backoff="exponential"),  # type: ignore[arg-type]
        lambda: Retries(backoff=()),
        lambda: Retries(backoff=(1, -1)),
        lambda: Retries(backoff=(1, True)),
        lambda: Retries(jitter="half"),  # type: ignore[arg-type]
        lambda: Retries(growth="quadratic"),  # type: ignore[arg-type]
        lambda: Retries(budget=0),
        lambda: Retries(budget=float("nan")),
        lambda: Retries(queue=""),
        lambda: Retries(queue=7),  # type: ignore[arg-type]
        lambda: Retries(priority=10),
        lambda: Retries(priority=-1),
        lambda: Retries(priority=True),
        lambda: Retries(on_exhausted=""),
        lambda: Retries(on_exhausted=3),
    ],
)
def test_impossible_policies(build: Callable[[], Retries]) -> None:
    with pytest.raises(ValueError, match=r"^Retries: \w+="):
        build()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Retries(backoff=700), "backoff=700 is over cap=600, which no wait exceeds: raise the cap"),
        (lambda: Retries(backoff=(1, 60, 3600)), "3600 is over cap=600, which no wait exceeds: say cap=3600"),
        (lambda: Retries(2, backoff=(1, 2, 3)), "says 3 waits and max_retries=2 uses fewer: say max_retries=3"),
        (lambda: Retries(backoff=(1,), growth="linear"), "this backoff says each wait itself; leave growth out"),
        (lambda: Retries(None, on_exhausted=print), "on_exhausted is never told, since max_retries=None and no budget"),
        (lambda: Retries(backoff=0), 'to retry at once say backoff=0, growth="fixed"'),
        (lambda: Retries(backoff=60, jitter=False, budget=30), "ends before the first wait of 60 s is over"),
        (lambda: Retries(backoff=60, jitter="equal", budget=20), "ends before the first wait of 30 s is over"),
        (lambda: Retries(backoff=(60,), budget=30), "nothing would be retried: raise the budget, or lower the backoff"),
    ],
)
def test_options_that_contradict_each_other_say_what_to_write(build: Callable[[], Retries], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Retries(backoff=60, budget=30),  # with full jitter the first wait may be as short as you like
        lambda: Retries(None, backoff=range(600)),
        lambda: Retries(3, backoff=(1, 2)),
        lambda: Retries(backoff=0, growth="fixed"),
        lambda: Retries(0, on_exhausted=print),
        lambda: Retries(on_exhausted="shop.refund"),
        lambda: Retries(on_exhausted={"task": "shop.refund"}),
    ],
)
def test_what_looks_odd_and_can_be_meant(build: Callable[[], Retries]) -> None:
    assert build() == build()


def test_the_same_said_in_other_words_is_the_same() -> None:
    assert Retries(jitter=True) == Retries(jitter="full") == Retries()
    assert Retries(jitter=False) == Retries(jitter="none")
    assert Retries(backoff=[1, 2]) == Retries(backoff=(1.0, 2.0), jitter="none")
    told = Retries(backoff=timedelta(seconds=5), cap=timedelta(minutes=10), budget=timedelta(hours=1))
    assert told == Retries(budget=3600)
    assert hash(told) == hash(Retries(budget=3600))


@pytest.mark.parametrize("on", ["ConnectionError", (1, 2), 3, int, (KeyError, int)])
def test_on_takes_types_or_a_function(on: object) -> None:
    with pytest.raises(TypeError, match="exception types, or a function"):
        Retries(on=on)  # type: ignore[arg-type]


def test_policies_and_decisions_are_values() -> None:
    assert pickle.loads(pickle.dumps(UNDECLARED)) == UNDECLARED
    assert Retries() != UNDECLARED
    assert len({RetryAt(1.0, "declared"), RetryAt(1.0, "declared"), GiveUp("exhausted")}) == 2
