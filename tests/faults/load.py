"""What a client publishes: kinds of units, the tasks each consists of, and the effects that it must have."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import chain, chord
from kombu import Producer

from tests.faults.tasks import CHILDREN, FAILURES, LANES, insist

MEMBERS = 4
#: Bytes.
BALLAST = 10_000_000
#: ``(step, task id)`` of the tasks of which the client knows the id.
Ids = list[tuple[str, str]]


def _plain(app: Any, unit: str) -> Ids:
    return [("plain", app.tasks["plain"].delay(unit).id)]


def _paid(app: Any, unit: str) -> Ids:
    return [("paid", app.tasks["paid"].delay(unit).id)]


def _honoured(app: Any, unit: str) -> Ids:
    return [("honoured", app.tasks["honoured"].delay(unit).id)]


def _linked(app: Any, unit: str) -> Ids:
    """The callback's id is not known before it is published."""
    after = app.tasks["honoured"].si(unit, "after")
    return [("paid", app.tasks["paid"].apply_async((unit,), link=after).id)]


def _chain(app: Any, unit: str) -> Ids:
    paid, honoured = app.tasks["paid"], app.tasks["honoured"]
    steps = [paid.si(unit, "first"), honoured.si(unit, "second"), paid.si(unit, "third")]
    third = chain(*steps).delay()
    return [("third", third.id), ("second", third.parent.id), ("first", third.parent.parent.id)]


def _chord(app: Any, unit: str) -> Ids:
    members = [app.tasks["paid"].si(unit, f"member-{number}") for number in range(MEMBERS)]
    body = app.tasks["joined"].s(unit)
    body.link(app.tasks["honoured"].si(unit, "after"))
    sent = chord(members)(body)
    header = [(f"member-{number}", member.id) for number, member in enumerate(sent.parent.results)]
    return [*header, ("joined", sent.id)]


def _keyed(app: Any, unit: str) -> Ids:
    """Repeated until it is accepted, and once more."""
    keyed = app.tasks["keyed"]
    first = insist(lambda: keyed.delay(unit))
    again = insist(lambda: keyed.delay(unit))
    return [("keyed", task_id) for task_id in dict.fromkeys((first.id, again.id))]


def _flaky(app: Any, unit: str) -> Ids:
    return [("flaky", app.tasks["flaky"].delay(unit).id)]


def _limited(app: Any, unit: str) -> Ids:
    return [("limited", app.tasks["limited"].delay(unit, _lane(unit)).id)]


def _slowed(app: Any, unit: str) -> Ids:
    """Limited, and tried again."""
    return [("limited", app.tasks["limited"].delay(unit, _lane(unit), failures=1).id)]


def _snoozed(app: Any, unit: str) -> Ids:
    return [("snoozed", app.tasks["snoozed"].delay(unit).id)]


def _called(app: Any, unit: str) -> Ids:
    return [("called", app.tasks["called"].delay(unit).id)]


def _lane(unit: str) -> int:
    return int(unit.partition("-")[2]) % LANES


def _parent(app: Any, unit: str) -> Ids:
    return [("parent", app.tasks["parent"].delay(unit).id)]


def _poison(app: Any, unit: str) -> Ids:
    return [("poison", app.tasks["poison"].delay(unit).id)]


def _unknown(app: Any, unit: str) -> Ids:
    return [("unknown", app.send_task("nowhere.to_be_found", (unit,)).id)]


def _undecodable(app: Any, unit: str) -> Ids:
    task_id = str(uuid.uuid4())
    with app.connection_for_write() as connection:
        Producer(connection).publish(
            b"{cut off",
            routing_key=app.conf.task_default_queue,
            content_type="application/json",
            content_encoding="utf-8",
            headers={"lang": "py", "task": "plain", "id": task_id, "root_id": task_id},
            correlation_id=task_id,
        )
    return [("undecodable", task_id)]


def _huge(app: Any, unit: str) -> Ids:
    return [("plain", app.tasks["plain"].delay(unit, "x" * BALLAST).id)]


@dataclass(frozen=True)
class Kind:
    """How a unit is published, and what it must do.

    ``effects`` are steps that take effect once in a receiver that counts; ``plain`` says that its effect is nobody's but
    its own; ``buried`` is the reason of the dead letter that it must become. A ``keyed`` unit is published again by the
    next client when one dies over it. ``generation`` is the one in which it ends; None where that is chance.
    """

    publish: Callable[[Any, str], Ids]
    effects: tuple[str, ...] = ()
    plain: bool = False
    buried: str = ""
    keyed: bool = False
    generation: int | None = 0


_HEADER = tuple(f"member-{number}" for number in range(MEMBERS))
KINDS = {
    "plain": Kind(_plain, plain=True),
    "paid": Kind(_paid, ("paid",)),
    "honoured": Kind(_honoured, ("honoured",)),
    "linked": Kind(_linked, ("paid", "after")),
    "chain": Kind(_chain, ("first", "second", "third")),
    "chord": Kind(_chord, (*_HEADER, "joined", "after")),
    "keyed": Kind(_keyed, ("keyed",), keyed=True),
    "flaky": Kind(_flaky, ("flaky",), generation=FAILURES),
    "limited": Kind(_limited, ("limited",)),
    "slowed": Kind(_slowed, ("limited",), generation=1),
    "snoozed": Kind(_snoozed, ("snoozed",)),
    "called": Kind(_called, ("called",), generation=None),
    "parent": Kind(_parent, ("parent", *(f"child-{number}" for number in range(CHILDREN)))),
    "poison": Kind(_poison, buried="poison"),
    "unknown": Kind(_unknown, buried="unknown-task"),
    "undecodable": Kind(_undecodable, buried="undecodable"),
    "huge": Kind(_huge, plain=True),
}
#: The usual mix, as weights.
MIX = {
    "plain": 4,
    "paid": 2,
    "honoured": 2,
    "linked": 2,
    "chain": 2,
    "chord": 2,
    "keyed": 2,
    "flaky": 1,
    "limited": 2,
    "slowed": 1,
    "snoozed": 1,
    "called": 1,
    "parent": 1,
}


def kind_of(unit: str) -> Kind:
    """A unit is named by its kind and its number."""
    return KINDS[unit.partition("-")[0]]
