"""The limits of a queue: keys over what its tasks have, checked for each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from celeriac.core.limits import Bound, Concurrency, FairShare, Rate, Rule, joined, pack, unpack
from celeriac.core.queue_limits import QueueLimits
from celeriac.errors import ArgumentError, QueueOptionError


def charge(customer_id: int, cents: int = 0) -> None: ...
def mail(address: str, **more: Any) -> None: ...
def queue_of(task: str, customer_id: int) -> None: ...


def bound(limits: QueueLimits, body: Callable[..., Any], *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    found = limits.bind(f"shop.{body.__name__}", inspect.signature(body), args, kwargs)
    return [(item.name, item.value) for item in found]


def test_a_limit_without_a_key_is_the_queues_for_all_its_tasks() -> None:
    limits = QueueLimits("mail", [Concurrency(2), Rate("100/m")])
    assert (
        bound(limits, charge, 7)
        == bound(limits, mail, "a@b")
        == [("queue mail concurrency", ""), ("queue mail rate", "")]
    )
    assert limits.rules == {"queue mail concurrency": Rule(slots=2), "queue mail rate": Rule(every=0.6, burst=1)}


def test_a_key_may_name_the_task_and_arguments_that_the_tasks_have() -> None:
    limits = QueueLimits("pay", [Concurrency(2, key="{task}"), FairShare("customer:{customer_id}")])
    assert bound(limits, charge, 7) == [
        ("queue pay concurrency {task}", "shop.charge"),
        ("queue pay fairshare customer:{customer_id}", "customer:7"),
    ]


def test_a_key_may_be_a_function_of_both() -> None:
    limits = QueueLimits("pay", Concurrency(2, key=lambda task, customer_id: f"{task}/{customer_id % 10}"))
    assert [value for _, value in bound(limits, charge, 17)] == ["shop.charge/7"]


def test_task_is_the_tasks_name_also_where_an_argument_has_that_name() -> None:
    limits = QueueLimits("pay", Concurrency(2, key="{task}:{customer_id}"))
    assert [value for _, value in bound(limits, queue_of, "an argument", 7)] == ["shop.queue_of:7"]


def test_what_only_names_the_task_needs_no_call_that_fits() -> None:
    limits = QueueLimits("pay", Concurrency(2, key="{task}"))
    assert [value for _, value in bound(limits, charge, 1, 2, 3, 4)] == ["shop.charge"]


def test_what_falls_into_any_keyword_is_no_argument_of_the_task() -> None:
    limits = QueueLimits("mail", Concurrency(2, key="{customer_id}"))
    with pytest.raises(
        QueueOptionError, match=r"^queue mail, option limits: for task shop.mail, which goes there: .*customer_id"
    ):
        bound(limits, mail, "a@b", customer_id=7)


def test_an_argument_that_makes_no_key_is_named() -> None:
    limits = QueueLimits("pay", Concurrency(2, key="{customer_id}"))
    with pytest.raises(ArgumentError, match=r"task shop.charge, argument customer_id"):
        bound(limits, charge, None)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("2", "no list of Concurrency"),
        ([Concurrency(2), "2"], "no list of Concurrency"),
        ([Concurrency(2), Concurrency(3)], "two limits have the name 'queue mail concurrency'"),
        ([Concurrency(2, key="{a}{b}")], "nothing parts {a} from {b}"),
        ([Concurrency(2, key="{a!r}")], "plain name"),
        ([Concurrency(2, key="{")], "template '{'"),
        ([Concurrency(2, key=7)], "neither a template"),  # type: ignore[arg-type]
        ([Rate("1/m", name=str(number)) for number in range(9)], "9 limits are too many"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_declared(declared: object, says: str) -> None:
    with pytest.raises(QueueOptionError, match=r"^queue mail, option limits: ") as raised:
        QueueLimits("mail", declared)
    assert says in str(raised.value)


def test_a_message_has_a_limit_once_that_its_task_and_its_queue_declare() -> None:
    shared = Bound("gateway", "", Rule(slots=2))
    own, queues = Bound("shop.charge rate", "", Rule(every=1.0)), Bound("queue pay concurrency", "", Rule(slots=9))
    both = joined(pack([own, shared]), [shared, queues])
    assert both is not None
    assert unpack(both) == sorted([own, shared, queues])
    assert joined(None, []) is None
    assert joined(None, [queues]) == pack([queues])
    assert joined(pack([own]), []) == pack([own])
