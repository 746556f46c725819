"""What limits can be declared, and what a message carries of them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from celeriac.core.limits import (
    Bound,
    Concurrency,
    FairShare,
    Limits,
    Rate,
    Rule,
    as_written,
    combined,
    pack,
    unpack,
    with_rule,
)
from celeriac.core.templates import Origin
from celeriac.errors import ArgumentError, OptionError

TASK = "shop.charge"


def charge(customer_id: int, cents: int = 100, note: str | None = None) -> None: ...


SIGNATURE = inspect.signature(charge)


def bound(declared: object, *args: Any, **kwargs: Any) -> list[Bound]:
    """What a call's message carries."""
    packed = Limits(TASK, declared, SIGNATURE).bind(args, kwargs)
    assert packed is not None
    return unpack(packed)


@pytest.mark.parametrize(
    ("limit", "rule"),
    [
        (Concurrency(2), Rule(slots=2)),
        (Rate("100/m"), Rule(every=0.6, burst=1)),
        (Rate("10/s"), Rule(every=0.1, burst=1)),
        (Rate("1000/s"), Rule(every=0.001, burst=100)),
        (Rate(" 3 / h ".strip()), Rule(every=1200.0, burst=1)),
        (Rate("24/d", burst=4), Rule(every=3600.0, burst=4)),
        (FairShare("{note}"), Rule()),
    ],
)
def test_numbers(limit: Any, rule: Rule) -> None:
    assert limit.rule == rule


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Concurrency(0), "pause"),
        (lambda: Concurrency(True), "whole number"),
        (lambda: Concurrency(1.5), "whole number"),  # type: ignore[arg-type]
        (lambda: Rate("0/s"), "pause"),
        (lambda: Rate("fast"), "100/m"),
        (lambda: Rate(5), "100/m"),  # type: ignore[arg-type]
        (lambda: Rate("5/s", burst=6), "1 to 5"),
        (lambda: Rate("5/s", burst=0), "1 to 5"),
        (lambda: Concurrency(1, name="  "), "printable"),
        (lambda: FairShare("{note}", name="a\nb"), "printable"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_out(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (7, "no list of Concurrency"),
        ([Concurrency(1), "x"], "no list of Concurrency"),
        (Concurrency(1, key="customer:{customer}"), "did you mean {customer_id}"),
        ([Concurrency(1), Concurrency(2)], "a name of its own"),
        ([Rate("1/s", name=str(number)) for number in range(9)], "too many"),
        (FairShare(""), "empty"),
    ],
)
def test_a_declaration_that_cannot_work_names_task_and_option(declared: object, said: str) -> None:
    with pytest.raises(OptionError, match=said) as raised:
        Limits(TASK, declared, SIGNATURE)
    assert (raised.value.task, raised.value.option) == (TASK, "limits")


def test_a_message_carries_names_values_and_numbers() -> None:
    declared = [Concurrency(2, key="customer:{customer_id}"), Rate("100/m", name="API")]
    assert bound(declared, 7) == [
        Bound("API", "", Rule(every=0.6)),
        Bound(f"{TASK} concurrency customer:{{customer_id}}", "customer:7", Rule(slots=2)),
    ]


def test_the_same_limits_make_the_same_text_in_whatever_order() -> None:
    first, second = Concurrency(2, name="a"), Rate("1/s", name="b")
    texts = {Limits(TASK, order, SIGNATURE).bind((7,), {}) for order in ([first, second], [second, first])}
    assert len(texts) == 1


def test_a_key_is_of_the_bound_and_defaulted_arguments() -> None:
    declared = Concurrency(1, key=lambda cents: f"c{cents}")
    assert [one.value for one in bound(declared, 7)] == ["c100"]
    assert bound(declared, 7, cents=100) == bound(declared, customer_id=7)


def test_an_argument_that_makes_no_key_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"argument note.*Concurrency"):
        bound(Concurrency(1, key="{note}"), 7)


def test_no_limits_are_none() -> None:
    assert Limits(TASK, [], SIGNATURE).bind((7,), {}) is None


def test_one_name_stands_for_one_thing() -> None:
    rules = combined({}, {"API": Rule(slots=2)}, Origin("a", "limits"))
    assert combined(rules, {"API": Rule(slots=2), "b": Rule()}, Origin("b", "limits")) == {
        "API": Rule(slots=2),
        "b": Rule(),
    }
    with pytest.raises(OptionError, match=r"API.*other numbers"):
        combined(rules, {"API": Rule(slots=3)}, Origin("c", "limits"))


def test_what_is_declared_now_outranks_what_was_sent() -> None:
    sent = Bound("API", "7", Rule(slots=2))
    assert with_rule(sent, {"API": Rule(slots=5)}) == Bound("API", "7", Rule(slots=5))
    assert with_rule(sent, {}) is sent


def test_values_with_anything_in_them_come_back() -> None:
    given = [Bound("n\x1f", 'v"\n☃', Rule(slots=1)), Bound("m", "", Rule(every=0.5, burst=3))]
    assert unpack(pack(given)) == sorted(given)
    assert "\n" not in pack(given)


def test_a_value_with_a_nul_is_one_that_every_store_can_count() -> None:
    [one] = bound([Concurrency(1, key="{note}")], 7, note="a\x00b")
    assert one.value == "a\\x00b"


ONE = '["a","",2,null,1]'


@pytest.mark.parametrize(
    "text",
    [
        *(7, None, [], {}, "", "[]", "{}", "no JSON", "[7]", '["ab"]', '[["a",""]]', "[" * 100_000),
        *(
            '[["a","",0,null,1]]',
            '[["a","",true,null,1]]',
            '[["a","",2,0,1]]',
            '[["a","",2,NaN,1]]',
            '[["a","",2,null,0]]',
        ),
        *('[["a","",2,null,1e400]]', f'[["a","",{2**60},null,1]]', '[["a","",2,1e300,1]]', '[["a","",2,null,1,1]]'),
        *('[["a\\u0000","",2,null,1]]', '[["a","\\ud800",2,null,1]]', '[[7,"",2,null,1]]', f"[{ONE},{ONE}]"),
    ],
)
def test_what_was_not_packed_here_limits_nothing(text: Any) -> None:
    assert as_written(text) is None


@pytest.mark.parametrize(
    "limits",
    [[Concurrency(2)], [Rate("1/d"), FairShare("{note}")], [Concurrency(2**40, key="ü:{customer_id}"), Rate("9/s")]],
)
def test_what_was_packed_is_read(limits: Any) -> None:
    packed = Limits(TASK, limits, SIGNATURE).bind((7,), {"note": "\x00\n\x1f"})
    assert as_written(packed) == packed
