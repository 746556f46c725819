"""The keeper renews, hands back what never began, and takes nothing after a stall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.core.message import Lease, TaskMessage
from celeriac.store.sqlite import SQLiteStore
from celeriac.transport.leases import LeaseKeeper, keeper_of


class SteppedStore(SQLiteStore):
    """A store whose lease clock is moved by hand."""

    offset = 0.0

    def lease_now(self) -> float:
        return 1000.0 + self.offset


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SteppedStore]:
    store = SteppedStore(tmp_path / "store.db")
    yield store
    store.close()


def claimed(store: SteppedStore, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> Lease:
    monkeypatch.setattr(keeper, "_begin", lambda: None)  # the rounds are turned by hand
    store.publish([TaskMessage("q", "[{},{},null,null]", "[]", task_id="t1", name="n")])
    (delivery,) = store.claim(["q"], 1, owner="w", lease=keeper.lease)
    keeper.hold(delivery)
    return delivery.lease


def test_a_renewed_lease_is_not_reclaimed(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    held = keeper.find(claimed(store, keeper, monkeypatch))
    assert held is not None
    held.started = True
    for _ in range(12):
        store.offset += 10
        assert keeper.tick(store)
    assert store.reclaim() == []


def test_what_nobody_renews_is_reclaimed_as_a_suspect(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    claimed(store, keeper, monkeypatch)
    keeper.held.clear()  # its worker is dead
    store.offset += 31
    assert keeper.tick(store)
    (again,) = store.claim(["q"], 1, owner="other", lease=30)
    assert again.suspect
    assert again.crashes == 0  # it was never marked as started


def test_what_is_reclaimed_is_named_and_what_becomes_of_it_said(
    store: SteppedStore, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    for count in (1, 9):
        store.publish([TaskMessage("q", "[{}, {}, null, null]", "", f"{count}-{at}", "charge") for at in range(count)])
        held = store.claim(["q"], count, owner="dead", lease=30)
        if count > 1:
            assert store.start(held[-1].lease)
        store.offset += 31
        assert keeper.tick(store)
        store.purge("q")
    alone, many = caplog.messages
    assert alone == ("reclaimed 1 message of workers that vanished: charge[1-0]. Whoever is free runs it next, alone")
    assert many.startswith(
        "reclaimed 9 messages of workers that vanished: charge[9-8], charge[9-0], charge[9-1], charge[9-2], charge[9-3] and 4 more. "
        "Whoever is free runs them next, each alone; 1 had begun, which counts as a crash:"
    )
    assert "celeriac_max_crashes" in many


def test_a_started_mark_makes_a_lost_lease_a_crash(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    held = keeper.find(claimed(store, keeper, monkeypatch))
    assert held is not None
    assert store.start(held.lease)
    keeper.held.clear()
    store.offset += 31
    keeper.tick(store)
    (again,) = store.claim(["q"], 1, owner="other", lease=30)
    assert again.crashes == 1


def test_what_never_began_goes_back_after_a_lease(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    held = keeper.find(claimed(store, keeper, monkeypatch))
    assert held is not None
    store.offset += 31
    keeper.tick(store)
    assert held.released
    (again,) = store.claim(["q"], 1, owner="other", lease=30)
    assert not again.suspect  # handed back, not lost
    assert not store.start(held.lease)  # and the first holder may not begin it any more


def test_nothing_is_taken_in_the_round_after_a_stall(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    claimed(store, keeper, monkeypatch)
    keeper.held.clear()
    store.offset += 31
    keeper.tick(store, reclaim=False)
    assert store.claim(["q"], 1, owner="other", lease=30) == []
    keeper.tick(store)
    assert len(store.claim(["q"], 1, owner="other", lease=30)) == 1


def test_a_lost_lease_is_told_once_and_renewed_no_more(
    store: SteppedStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = LeaseKeeper(store, lease=30, renew=10)
    held = keeper.find(claimed(store, keeper, monkeypatch))
    assert held is not None
    held.started = True
    store.offset += 31
    assert len(store.reclaim()) == 1
    for _ in range(3):
        keeper.tick(store, reclaim=False)
    assert [record.message for record in caplog.records] == ["lost the lease of message 1 (task t1)"]


def test_a_child_holds_nothing_of_its_parents(store: SteppedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keeper_of(store, lease=30, renew=10)
    lease = claimed(store, keeper, monkeypatch)
    with keeper._lock:  # as another thread may hold it while this one forks
        child = os.fork()
        if child == 0:
            free = keeper._lock.acquire(timeout=1)
            os._exit(0 if free and keeper.find(lease) is None else 1)  # no test is to go on in here
        _, status = os.waitpid(child, 0)
    assert status == 0
    assert keeper.find(lease) is not None
