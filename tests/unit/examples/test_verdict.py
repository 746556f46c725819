"""The account finds what is wrong with cooked books."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest

from examples.demo.verdict import Books, judge, read_books

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


def test_who_came_back_too_soon_is_in_the_gateways_book(tmp_path: Path) -> None:
    gateway, mail = tmp_path / "gateway.db", tmp_path / "mail.db"
    calls = [(1, "busy", 10.0), (2, "busy", 10.0), (1, "charged", 10.9), (2, "charged", 11.0), (3, "busy", 12.0)]
    with closing(sqlite3.connect(gateway)) as raw, raw:
        raw.executescript(import_module("shop.gateway").SCHEMA)
        raw.executemany("INSERT INTO call (order_id, outcome, at) VALUES (?, ?, ?)", calls)
    with closing(sqlite3.connect(mail)) as raw, raw:
        raw.execute("CREATE TABLE mail (message_id TEXT)")
    read = read_books(gateway, mail)
    assert (read.busy, read.too_soon) == (3, 1)
