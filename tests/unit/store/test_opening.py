"""What opening a file does: schema, identity, the boot it belongs to."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.core.limits import Bound, Rule, pack
from celeriac.store import clock
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import claim, claim_one, publish, settle, task
from tests.support import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def fresh_boot_id() -> Iterator[None]:
    clock.boot_id.cache_clear()
    yield
    clock.boot_id.cache_clear()


@pytest.mark.usefixtures("fresh_boot_id")
def test_a_lease_of_an_earlier_boot_is_dead(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = SQLiteStore(path)
    publish(before, "a")
    held = claim_one(before, lease=1e9)
    before.close()
    monkeypatch.setattr(clock, "_BOOT_ID", _next_boot(path))
    clock.boot_id.cache_clear()
    after = SQLiteStore(path)
    assert len(after.reclaim()) == 1
    again = claim_one(after)
    assert not settle(after, held).held
    # The next to open it in this boot leaves its leases alone.
    another = SQLiteStore(path)
    assert another.reclaim() == []
    assert settle(another, again).held
    after.close()
    another.close()


@pytest.mark.usefixtures("fresh_boot_id")
def test_a_rate_of_an_earlier_boot_keeps_nobody_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of an earlier boot may be years ahead of this one's."""
    before = SQLiteStore(path)
    limits = pack([Bound("API", "", Rule(every=0.05))])
    publish(before, *(task(name, limits=limits) for name in "abc"))
    monkeypatch.setattr(before.database, "lease_now", lambda: clock.lease_now() + 1e9)
    assert [settle(before, item).held for item in claim(before)] == [True]
    assert claim(before) == []
    before.close()
    monkeypatch.setattr(clock, "_BOOT_ID", _next_boot(path))
    clock.boot_id.cache_clear()
    after = SQLiteStore(path)
    wait_for(lambda: bool(claim(after)), 20, "the rate is of another clock")
    after.close()


def _next_boot(path: Path) -> Path:
    named = path.with_name("boot_id")
    named.write_text("the next boot\n")
    return named


def test_a_lease_of_this_boot_outlives_its_process(path: Path) -> None:
    first = SQLiteStore(path)
    publish(first, "a")
    held = claim_one(first)
    first.close()
    again = SQLiteStore(path)
    assert again.reclaim() == []
    assert settle(again, held).held
    again.close()


def test_a_ledger_has_one_name_for_ever(path: Path, tmp_path: Path) -> None:
    first = SQLiteStore(path)
    name = first.uuid
    first.close()
    other = SQLiteStore(tmp_path / "other.db")
    again = SQLiteStore(path)
    assert again.uuid == name != other.uuid
    again.close()
    other.close()


@pytest.mark.parametrize(("word", "level"), [("normal", 1), ("FULL", 2)])
def test_synchronous_is_a_choice_that_every_connection_has(path: Path, word: str, level: int) -> None:
    store = SQLiteStore(path, synchronous=word)
    for connection in (store.database.writer, store.database.reader, store.keeper().database.writer):
        with connection.reading() as raw:
            assert raw.execute("PRAGMA synchronous").fetchone() == (level,)
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_opening_again_writes_nothing(path: Path) -> None:
    first = SQLiteStore(path)
    mark = first.mark()
    another = SQLiteStore(path)
    assert first.mark() == mark
    first.close()
    another.close()


# -- the lease clock


def test_the_lease_clock_is_every_processs() -> None:
    code = "from celeriac.store.clock import boot_id, lease_now; print(boot_id(), lease_now())"
    before = clock.lease_now()
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    boot, moment = told.rsplit(maxsplit=1)
    assert before < float(moment) < clock.lease_now()
    assert boot == clock.boot_id()


@pytest.mark.parametrize(
    ("correction", "same"), [(0.4, True), (-40, True), (40, True), (86_400, False), (-86_400, False)]
)
@pytest.mark.usefixtures("fresh_boot_id")
def test_a_system_that_does_not_name_its_boots_knows_them_by_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, correction: float, *, same: bool
) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "missing")
    known = clock.boot_id()
    clock.boot_id.cache_clear()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + correction)
    assert clock.same_boot(known) is same


def test_a_named_boot_is_only_itself() -> None:
    assert clock.same_boot(clock.boot_id())
    assert not clock.same_boot("booted-1")
    assert not clock.same_boot("")
