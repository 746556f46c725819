"""What really happened, from the books of the gateway and the mail server; never from what the tasks say of themselves.

The steps of the nightly report are counted in the shop's own journal, which has a row for each time one was done.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shop.gateway import BUSY_FOR

from examples.demo.night import Night


@dataclass
class Books:
    """Facts, by order."""

    charges: dict[int, int] = field(default_factory=dict)
    pence: dict[int, int] = field(default_factory=dict)  #: charged, all of an order's charges together
    declined: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    absorbed: int = 0
    busy: int = 0
    too_soon: int = 0
    at_once: int = 0
    mails: dict[int, int] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)  #: subjects of the mails to the head office


@dataclass
class Verdict:
    """The account of one run; ``ok`` is what the exit code says."""

    accepted: int
    confirmed: int
    declined: int
    dead_lettered: int
    failed_unseen: int
    lost: int
    charged_twice: int
    absorbed: int
    busy: int
    too_soon: int
    at_once: int
    mails: int
    repeated_mails: int
    report_mails: int
    report_figures_wrong: int
    report_steps: int
    report_steps_missing: int
    report_steps_repeated: int
    lost_orders: list[int]

    @property
    def ok(self) -> bool:
        return self.lost == 0 and self.charged_twice == 0 and self.report_ok

    @property
    def report_ok(self) -> bool:
        """Whether the nightly report is right and each of its steps was done once; without confirmed orders there is none."""
        wrong = self.report_figures_wrong + self.report_steps_missing + self.report_steps_repeated
        return wrong == 0 and self.report_mails == min(self.confirmed, 1)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def judge(accepted: set[int], dead_lettered: set[int], books: Books, night: Night) -> Verdict:
    """Every accepted order is confirmed, declined, dead-lettered, or lost.

    Confirmed means charged in the gateway's books and mailed in the mail
    server's: a mail without a charge, or a charge without a mail, is a loss.
    What the gateway refused for good and nobody kept as a dead letter failed
    unseen: no loss of money, but nobody will ever look at it.
    The nightly report is right when what was mailed is what the gateway charged
    for the confirmed orders; without one there were none.
    """
    confirmed = {order for order in accepted if books.charges.get(order) and books.mails.get(order)}
    declined = (accepted & books.declined) - confirmed
    dead = (accepted & dead_lettered) - confirmed - declined
    unseen = (accepted & books.refused) - confirmed - declined - dead
    lost = accepted - confirmed - declined - dead - unseen
    return Verdict(
        accepted=len(accepted),
        confirmed=len(confirmed),
        declined=len(declined),
        dead_lettered=len(dead),
        failed_unseen=len(unseen),
        lost=len(lost),
        charged_twice=sum(1 for count in books.charges.values() if count > 1),
        absorbed=books.absorbed,
        busy=books.busy,
        too_soon=books.too_soon,
        at_once=books.at_once,
        mails=sum(books.mails.values()),
        repeated_mails=sum(count - 1 for count in books.mails.values()),
        report_mails=len(books.reports),
        report_figures_wrong=figures_wrong(books, confirmed),
        report_steps=sum(night.steps.values()),
        report_steps_missing=len(night.expected - night.steps.keys()),
        report_steps_repeated=sum(count - 1 for count in night.steps.values()),
        lost_orders=sorted(lost),
    )


def figures_wrong(books: Books, confirmed: set[int]) -> int:
    """How many of the figures that the head office got are not what the gateway charged for these orders."""
    right = [str(len(confirmed)), str(sum(books.pence.get(order, 0) for order in confirmed))]
    found = [match.groups() if (match := FIGURES.search(subject)) else ("", "") for subject in books.reports]
    return sum(mailed != real for pair in found for mailed, real in zip(pair, right, strict=True))


#: In the subject of a report.
FIGURES = re.compile(r"(\d+) orders, (\d+) pence", re.ASCII)
#: Calls that were told to come back, and how many of these were followed by another about the same order before that.
RETRY_AFTER = """
SELECT count(*), count(CASE WHEN again < at + ? THEN 1 END) FROM (
    SELECT at, outcome, lead(at) OVER (PARTITION BY order_id ORDER BY id) AS again FROM call
) WHERE outcome = 'busy'
"""
CHARGES = "SELECT order_id, count(*), sum(pence) FROM charge GROUP BY order_id"
CONFIRMATIONS = "SELECT message_id, count(*) FROM mail WHERE message_id LIKE '<order-%' GROUP BY message_id"


def read_books(gateway: Path, mail: Path) -> Books:
    """Read both books as they stand."""
    books = Books()
    with closing(sqlite3.connect(gateway)) as raw:
        for order_id, count, pence in raw.execute(CHARGES):
            books.charges[order_id], books.pence[order_id] = count, pence
        books.declined = {row[0] for row in raw.execute("SELECT order_id FROM call WHERE outcome = 'declined'")}
        books.refused = {row[0] for row in raw.execute("SELECT order_id FROM call WHERE outcome = 'unknown-account'")}
        books.absorbed = raw.execute("SELECT count(*) FROM call WHERE outcome = 'absorbed'").fetchone()[0]
        books.busy, books.too_soon = raw.execute(RETRY_AFTER, (BUSY_FOR,)).fetchone()
        books.at_once = raw.execute("SELECT coalesce(max(most), 0) FROM crowd").fetchone()[0]
    with closing(sqlite3.connect(mail)) as raw:
        books.reports = [row[0] for row in raw.execute("SELECT subject FROM mail WHERE message_id LIKE '<report-%'")]
        for message_id, count in raw.execute(CONFIRMATIONS):
            books.mails[int(message_id.removeprefix("<order-").partition("@")[0])] = count
    return books


LABELS = {
    "accepted": "orders accepted",
    "confirmed": "confirmed (charged and mailed)",
    "declined": "declined by the bank",
    "dead_lettered": "dead-lettered",
    "failed_unseen": "failed, and kept nowhere",
    "lost": "LOST",
    "charged_twice": "CHARGED TWICE",
    "absorbed": "repeated gateway calls absorbed by its key",
    "busy": "gateway calls told to come back later",
    "too_soon": "of these, repeated before that time",
    "at_once": "bookings of one customer at once, at most",
    "mails": "mails sent",
    "repeated_mails": "repeated mails",
    "report_mails": "nightly reports mailed",
    "report_figures_wrong": "figures of it that are wrong",
    "report_steps": "steps of it done",
    "report_steps_missing": "steps of it not done",
    "report_steps_repeated": "steps of it done again",
}


def as_text(verdict: Verdict) -> str:
    """The verdict for people."""
    rows = [f"  {label:<44}{getattr(verdict, name):>8}" for name, label in LABELS.items()]
    lost = verdict.lost_orders
    if lost:
        rows.append(f"  lost orders: {', '.join(map(str, lost[:12]))}{' …' if len(lost) > 12 else ''}")
    return "\n".join(rows)
