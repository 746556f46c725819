"""The account finds what is wrong with cooked books."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest

from examples.demo.night import Night
from examples.demo.verdict import Books, Verdict, as_text, read_books
from examples.demo.verdict import judge as judge_all

ALL = {1, 2, 3, 4}
STEPS = ("figures of France", "compile", "mail", "close")
REPORT = "2026-01-02: 2 orders, 750 pence"


def books(**changes: object) -> Books:
    made = Books(charges={1: 1, 2: 1}, declined={3}, refused={4}, mails={1: 1, 2: 1})
    made.pence, made.reports = {1: 250, 2: 500}, [REPORT]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def night(**steps: int) -> Night:
    done = dict.fromkeys(STEPS, 1) | steps
    return Night("2026-01-02", frozenset(STEPS), {step: count for step, count in done.items() if count})


def judge(accepted: set[int], dead: set[int], found: Books) -> Verdict:
    return judge_all(accepted, dead, found, night())


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


@pytest.mark.parametrize(
    ("reports", "wrong"),
    [
        (["2026-01-02: 2 orders, 751 pence"], 1),
        (["2026-01-02: 3 orders, 750 pence"], 1),
        (["2026-01-02: nothing"], 2),
        ([], 0),
        ([REPORT, REPORT], 0),
    ],
    ids=["pence", "orders", "no figures", "never mailed", "mailed twice"],
)
def test_a_report_that_is_not_what_was_charged_or_not_mailed_once_is_found(reports: list[str], wrong: int) -> None:
    verdict = judge(ALL, {4}, books(reports=reports))
    assert (verdict.report_mails, verdict.report_figures_wrong) == (len(reports), wrong)
    assert not verdict.ok


@pytest.mark.parametrize(("times", "missing", "repeated"), [(0, 1, 0), (2, 0, 1)])
def test_a_step_of_the_report_that_was_not_done_once_is_found(times: int, missing: int, repeated: int) -> None:
    verdict = judge_all(ALL, {4}, books(), night(close=times))
    assert (verdict.report_steps_missing, verdict.report_steps_repeated) == (missing, repeated)
    assert verdict.report_steps == 3 + times
    assert not verdict.ok
    assert f"{'steps of it not done':<44}{missing:>8}" in as_text(verdict)


def test_without_confirmed_orders_there_is_no_report() -> None:
    verdict = judge_all({3}, set(), Books(declined={3}), Night("2026-01-02"))
    assert (verdict.ok, verdict.report_mails) == (True, 0)


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
        raw.execute(import_module("shop.mailserver").SCHEMA)
    read = read_books(gateway, mail)
    assert (read.busy, read.too_soon) == (3, 1)


def test_customers_mails_and_the_report_are_told_apart(tmp_path: Path) -> None:
    gateway, mail = tmp_path / "gateway.db", tmp_path / "mail.db"
    with closing(sqlite3.connect(gateway)) as raw, raw:
        raw.executescript(import_module("shop.gateway").SCHEMA)
        raw.executemany(
            "INSERT INTO charge (order_id, pence, key, booked_at) VALUES (?, ?, ?, 0)",
            [(1, 250, "a"), (2, 500, "b"), (2, 500, "c")],
        )
    with closing(sqlite3.connect(mail)) as raw, raw:
        raw.execute(import_module("shop.mailserver").SCHEMA)
        mails = [("<order-1@shop.example>", "Your order 1")] * 2 + [("<report-2026-01-02@shop.example>", REPORT)]
        raw.executemany("INSERT INTO mail (message_id, subject) VALUES (?, ?)", mails)
    read = read_books(gateway, mail)
    assert (read.mails, read.reports) == ({1: 2}, [REPORT])
    assert (read.charges, read.pence) == ({1: 1, 2: 2}, {1: 250, 2: 1000})
