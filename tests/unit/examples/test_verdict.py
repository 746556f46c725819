"""The account finds what is wrong with cooked books."""

from __future__ import annotations

import pytest

from examples.demo.verdict import Books, judge

ALL = {1, 2, 3, 4}


def books(**changes: object) -> Books:
    made = Books(charges={1: 1, 2: 1}, declined={3}, refused={4}, mails={1: 1, 2: 1})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_honest_books() -> None:
    verdict = judge(ALL, {4}, books())
    assert verdict.ok
    assert (verdict.confirmed, verdict.declined, verdict.dead_lettered, verdict.lost) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("cooked", "lost"),
    [({"mails": {1: 1}}, [2]), ({"charges": {1: 1}}, [2]), ({"declined": set()}, [3])],
    ids=["a charge without a mail", "a mail without a charge", "an order that is nowhere"],
)
def test_a_loss_is_found(cooked: dict[str, object], lost: list[int]) -> None:
    verdict = judge(ALL, {4}, books(**cooked))
    assert not verdict.ok
    assert verdict.lost_orders == lost


def test_a_double_charge_is_found() -> None:
    verdict = judge(ALL, {4}, books(charges={1: 1, 2: 2}))
    assert not verdict.ok
    assert verdict.charged_twice == 1


def test_what_failed_and_nobody_kept_is_told() -> None:
    assert judge(ALL, set(), books()).failed_unseen == 1


def test_a_mail_sent_twice_is_told() -> None:
    assert judge(ALL, {4}, books(mails={1: 3, 2: 1})).repeated_mails == 2
