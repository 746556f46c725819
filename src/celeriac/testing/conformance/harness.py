"""What the suite asks for besides a store, and short ways to say what a check does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from inspect import signature
from typing import Any

import pytest

from celeriac.core.attempt import ChordPart, Failure, Outcome, Record, Settled, Settlement
from celeriac.core.desk import By
from celeriac.core.message import Delivery, IdempotencyKey, Published, TaskMessage
from celeriac.store.protocols import Store

#: The lease (seconds) of every claim that does not say otherwise.
LEASE = 30.0
QUEUE = "celery"
TASK = "shop.charge"
#: Whoever redrives, purges, acknowledges.
ME = By("tester@host")
#: Celery's state of each outcome that ends a generation or its run.
_STATES = {
    Outcome.COMPLETED: "SUCCESS",
    Outcome.FAILED: "FAILURE",
    Outcome.DEAD_LETTERED: "FAILURE",
    Outcome.IGNORED: "IGNORED",
    Outcome.REVOKED: "REVOKED",
    Outcome.RETRY: "RETRY",
    Outcome.REPLACED: "PENDING",
}


class StoreHarness(ABC):
    """Opens stores on the data of one test, and lets time pass for them.

    Make a fixture named ``harness`` that yields one, empty, and closes it.
    """

    @cached_property
    def store(self) -> Store:
        """The store most checks use."""
        return self.open()

    @abstractmethod
    def open(self) -> Store:
        """A further store on the same data, with connections of its own, as another process would have it."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let every clock of the data's stores go forward: leases run out, delayed messages fall due."""

    @abstractmethod
    def close(self) -> None:
        """Close what ``open`` opened."""

    def unstorable(self) -> TaskMessage:
        """A message that makes the store fail in the middle of a transaction."""
        return task("unstorable", body=object())


class Conformance:
    """The base of the suite's classes."""

    @pytest.fixture
    def store(self, harness: StoreHarness) -> Store:
        """The harness's store."""
        return harness.store


def run_check(suite: type, name: str, harness: StoreHarness, **parameters: object) -> None:
    """Run one check outside pytest, with the values for what it is parametrised by."""
    check: Callable[..., None] = getattr(suite(), name)
    given = {"harness": harness, "store": harness.store, **parameters}
    check(**{parameter: given[parameter] for parameter in signature(check).parameters})


# -- short ways


def task(task_id: str | None, queue: str = QUEUE, **fields: Any) -> TaskMessage:
    """A message of the task ``shop.charge``."""
    fields.setdefault("body", f"[[], {{}}, {{}}] of {task_id}")
    return TaskMessage(queue, fields.pop("envelope", "[{}, {}, null, null]"), task_id=task_id, name=TASK, **fields)


def key(value: str = "order:7", *, digest: str = "d1", ttl: float = 60.0, task: str = TASK) -> IdempotencyKey:
    """An idempotency key of ``shop.charge``."""
    return IdempotencyKey(task, value, digest, ttl)


def publish(store: Store, *messages: TaskMessage | str) -> list[Published]:
    """Publish messages, or tasks by their id."""
    return store.publish([task(message) if isinstance(message, str) else message for message in messages])


def claim(
    store: Store,
    *queues: str,
    limit: int = 64,
    owner: str = "worker",
    lease: float = LEASE,
    idle: bool = True,
) -> list[Delivery]:
    """Claim from these queues, or from ``celery``."""
    return store.claim(queues or (QUEUE,), limit, owner=owner, lease=lease, idle=idle)


def claim_one(store: Store, *queues: str, **options: Any) -> Delivery:
    """Claim the one message that must be there."""
    deliveries = claim(store, *queues, limit=1, **options)
    assert len(deliveries) == 1
    return deliveries[0]


def ids(deliveries: Iterable[Delivery]) -> list[str | None]:
    """The task ids, in order."""
    return [delivery.task_id for delivery in deliveries]


def id_of(delivery: Delivery) -> str:
    """The id of a delivered task."""
    assert delivery.task_id is not None
    return delivery.task_id


def record(delivery: Delivery, state: str = "SUCCESS", **fields: Any) -> Record:
    """The end of a delivery's generation, as the ledger keeps it."""
    fields.setdefault("closed", True)
    return Record(id_of(delivery), delivery.generation, state, **fields)


def settlement(delivery: Delivery, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> Settlement:
    """The end of a delivery's attempt; record and failure follow from the outcome unless given."""
    if outcome in _STATES and "record" not in fields:
        fields["record"] = record(delivery, _STATES[outcome])
    if outcome in (Outcome.FAILED, Outcome.DEAD_LETTERED, Outcome.RETRY):
        fields.setdefault("failure", Failure("exhausted", "OSError", "connection refused", "Traceback"))
    return Settlement(delivery.lease, id_of(delivery), delivery.generation, outcome, **fields)


def settle(store: Store, delivery: Delivery, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> Settled:
    """Settle one delivery."""
    [settled] = store.settle([settlement(delivery, outcome, **fields)])
    return settled


def run(store: Store, *queues: str, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> Delivery:
    """Claim one message and settle it."""
    delivery = claim_one(store, *queues)
    assert settle(store, delivery, outcome, **fields).held
    return delivery


def state_of(store: Store, task_id: str) -> str | None:
    """The state in the ledger, if it knows the task."""
    known = store.records([task_id]).get(task_id)
    return known.state if known else None


def part(group_id: str, task_id: str, position: int = 0, *, succeeded: bool = True, result: str = "1") -> ChordPart:
    """What a chord's member contributes."""
    return ChordPart(group_id, task_id, position, succeeded, result, body="the body")


def take_over(harness: StoreHarness, *, started: Sequence[Delivery] = ()) -> None:
    """Let every lease run out, after the given deliveries were marked as started, and reclaim."""
    for delivery in started:
        assert harness.store.start(delivery.lease)
    harness.pass_time(LEASE + 1)
    harness.store.reclaim()
