"""When a channel claims more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.core.message import Delivery, Lease
from celeriac.transport.leases import LeaseKeeper
from celeriac.transport.qos import QoS


class Store:
    """Notes what is deleted."""

    def __init__(self) -> None:
        self.acked: list[Lease] = []

    def ack(self, leases: list[Lease]) -> None:
        self.acked += leases


def channel() -> Any:
    store = Store()
    keeper = LeaseKeeper(store)  # type: ignore[arg-type]  # it is never asked for more
    keeper._begin = lambda: None  # type: ignore[method-assign]  # no thread
    connection = SimpleNamespace(adaptive=False, freed=lambda: None, last_chance=2, isolates=False)
    return SimpleNamespace(store=store, keeper=keeper, connection=connection)


def delivery(row: int, *, token: int = 1, crashes: int = 0, suspect: bool = False) -> Delivery:
    return Delivery(
        Lease(row, token), "q", "", "", f"t{row}", 0, crashes, suspect, revoked=False, settled=False, claimed_at=0.0
    )


@pytest.mark.parametrize("held", range(5))
def test_every_free_slot_of_the_pool_is_filled(held: int) -> None:
    qos = QoS(channel(), 5)
    for row in range(held):
        qos.hold(delivery(row))
    assert qos.room() == 5 - held


def test_beyond_the_pool_it_is_filled_by_halves() -> None:
    qos = QoS(channel(), 1)
    qos.prefetch.target = lambda: 100  # type: ignore[method-assign]
    for row in range(100):
        qos.hold(delivery(row))
    rooms = []
    for row in range(99):
        qos.ack(Lease(row, 1))
        rooms.append(qos.room())
    assert rooms[:49] == [0] * 49
    assert rooms[49] == 50


def test_the_end_of_an_old_delivery_leaves_the_new_one_alone() -> None:
    """The same row, claimed again by this very worker after it was handed back."""
    own = channel()
    qos = QoS(own, 1)
    qos.hold(delivery(1, token=1))
    own.keeper.find(Lease(1, 1)).managed = True
    qos.hold(delivery(1, token=2))
    qos.ack(Lease(1, 1))
    assert own.store.acked == []
    assert own.keeper.find(Lease(1, 2)) is not None


def test_a_managed_message_is_never_deleted_by_its_acknowledgement() -> None:
    own = channel()
    qos = QoS(own, 1)
    qos.hold(delivery(1))
    own.keeper.find(Lease(1, 1)).managed = True
    qos.ack(Lease(1, 1))
    assert own.store.acked == []


def test_beside_a_last_chance_nothing_is_claimed() -> None:
    qos = QoS(channel(), 4)
    qos.hold(delivery(1, suspect=True, crashes=2))
    assert qos.room() == 0
    qos.ack(Lease(1, 1))
    assert qos.room() == 4


def test_others_run_beside_a_suspect_until_its_last_chance() -> None:
    qos = QoS(channel(), 4)
    qos.hold(delivery(1, suspect=True, crashes=1))
    assert qos.room() == 3
    qos.hold(delivery(2, suspect=True, crashes=2))
    assert qos.room() == 0
