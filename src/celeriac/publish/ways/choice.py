"""Which way a task goes: from what is configured and where it is published, with no I/O.

    caller's own connection ──────────────────────────────▶ ELSEWHERE  as Celery sends it
    our store is the broker ──┬─ among many ──────────────▶ BATCH      into the store, a few hundred at once
                              └───────────────────────────▶ STORE      into the store, or the transaction open on it
    a ledger beside ──────────┬─ among many ──────────────▶ BATCH      into the ledger, a few hundred at once
                              ├─ the ledger must know ────▶ LEDGER     into the ledger; a worker relays it
                              └───────────────────────────▶ STRAIGHT   to the broker, with the ledger's name on it
    a broker and nothing else ┬─ in a transaction ────────▶ OUTBOX     into the table beside the transaction's rows
                              └───────────────────────────▶ BROKER     to the broker, within a time

Any of them may be spared: while the broker is away, the local outbox keeps the task.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Way(Enum):
    """How a task leaves; the table above says what each is."""

    ELSEWHERE = auto()
    BATCH = auto()
    STORE = auto()
    LEDGER = auto()
    STRAIGHT = auto()
    OUTBOX = auto()
    BROKER = auto()


class Configured(NamedTuple):
    """What an app has."""

    #: The broker is a store of celeriac's.
    store: bool = False
    #: There is a ledger beside the broker.
    ledger: bool = False
    #: The broker is given nothing that the ledger does not know (``celeriac_outbox``).
    by_the_ledger: bool = False
    #: A file keeps tasks while the broker is away (``celeriac_local_outbox``).
    local_outbox: bool = False


class Publish(NamedTuple):
    """What is told apart about one task that is published, and about where."""

    #: The caller gives a connection or producer of his own, and it leads to another broker.
    elsewhere: bool = False
    #: It is one of many that are sent together.
    batched: bool = False
    #: A transaction is open in which the app's tasks are published.
    transaction: bool = False
    #: An attempt's body is over, or it retries, and its settlement takes what follows along.
    settling: bool = False
    #: It has a key, or an id that may have been sent before: only the ledger knows whether that one is over. Or it is
    #: limited, and waits there.
    known: bool = False


class Chosen(NamedTuple):
    """The way, and whether the local outbox keeps the task where the broker is away."""

    way: Way
    spared: bool = False


def choose(app: Configured, publish: Publish) -> Chosen:
    """The way for one task."""
    # What is somebody's to commit is kept where he commits it, and a batch spares itself, by slices.
    elsewhere = publish.elsewhere or publish.batched or publish.transaction or publish.settling
    return Chosen(_way(app, publish), spared=app.local_outbox and not elsewhere)


def _way(app: Configured, publish: Publish) -> Way:
    if app.store:
        return _into_the_store(publish)
    if publish.elsewhere:
        return Way.BROKER
    if app.ledger and publish.batched:
        return Way.BATCH
    if app.ledger:
        return Way.LEDGER if _ledger_must_know(app, publish) else Way.STRAIGHT
    return Way.OUTBOX if publish.transaction else Way.BROKER


def _into_the_store(publish: Publish) -> Way:
    if publish.elsewhere:
        return Way.ELSEWHERE
    return Way.BATCH if publish.batched else Way.STORE


def _ledger_must_know(app: Configured, publish: Publish) -> bool:
    # With a local outbox, a task may be in two places and has to be one.
    return app.by_the_ledger or app.local_outbox or publish.known or publish.transaction or publish.settling
