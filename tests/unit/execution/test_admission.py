"""What may begin: asked last of all whether it is still ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.core.attempt import Attempt, Outcome
from celeriac.core.circuit import Circuit
from celeriac.core.message import DeliveryFacts, IdempotencyKey, KeyHolder, Lease
from celeriac.execution.admission import admit
from celeriac.execution.room import Room

LEASE = 30.0
KEY = IdempotencyKey("charge", "7", "digest", 60.0)


@dataclass
class Store:
    """Has whoever asks for a key wait; by then the lease may be another's."""

    waits: float
    held: bool = True
    clock: float = 0.0
    asked: list[str] = field(default_factory=list)
    holder: str = "t"

    @property
    def uuid(self) -> str:
        self.asked.append("uuid")
        return "ledger"

    def lease_now(self) -> float:
        return self.clock

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        self.asked.append("key")
        self.clock += self.waits
        return KeyHolder(self.holder, "digest", False)

    def park(self, lease: Lease) -> bool:
        return True

    def start(self, lease: Lease) -> bool:
        self.asked.append("start")
        return self.held


def admitted(store: Store, key: IdempotencyKey | None = KEY) -> Outcome | None:
    task: Any = SimpleNamespace(runs_again_after_a_crash=lambda: True, declared_limits=None, declared_circuits=())
    attempt = Attempt("t", "charge", DeliveryFacts(Lease(1, 1)), "w", 0.0, key=key, task=task)
    room = Room(store, settler=None, lease=LEASE)  # type: ignore[arg-type]  # what it needs of them
    return admit(room, attempt)


def test_what_waited_for_its_key_for_a_lease_is_not_begun_when_it_is_anothers_by_then() -> None:
    store = Store(waits=LEASE + 1, held=False)
    assert admitted(store) is Outcome.LEASE_LOST
    assert store.asked == ["uuid", "key", "start"]


def test_what_waited_and_is_still_ours_begins() -> None:
    assert admitted(Store(waits=LEASE + 1)) is None


@pytest.mark.parametrize("key", [KEY, None], ids=["keyed", "plain"])
def test_what_did_not_wait_asks_for_no_mark(key: IdempotencyKey | None) -> None:
    store = Store(waits=0.01)
    assert admitted(store, key) is None
    assert "start" not in store.asked


def test_what_waits_for_another_holder_is_not_marked_as_started() -> None:
    store = Store(waits=LEASE + 1, holder="another")
    assert admitted(store) is Outcome.SNOOZED
    assert store.asked == ["uuid", "key"]


def test_what_follows_a_task_needs_nothing_of_the_store_that_was_not_asked_before_its_body() -> None:
    """A store in trouble then would make a failure of a success."""
    store = Store(waits=0.0)
    assert admitted(store, None) is None
    assert store.asked == ["uuid"]


def test_what_is_behind_an_open_circuit_is_put_off_before_anything_of_it_begins() -> None:
    store, until = Store(waits=0.0), 1_700_000_030.0
    breaker = SimpleNamespace(look=lambda: until)
    app = SimpleNamespace(circuits=SimpleNamespace(breaker=lambda circuit: breaker))
    task: Any = SimpleNamespace(declared_limits=None, declared_circuits=(Circuit("gateway"),), app=app)
    task.runs_again_after_a_crash = lambda: False  # which would have it marked before it runs
    attempt = Attempt("t", "charge", DeliveryFacts(Lease(1, 1)), "w", 0.0, task=task)
    assert admit(Room(store, settler=None), attempt) is Outcome.SNOOZED  # type: ignore[arg-type]  # what it needs of them
    assert attempt.snooze_until == until
    assert "start" not in store.asked
