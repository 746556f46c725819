"""The store cannot be written for a while: what was done is recorded afterwards, and only that."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from celery import chain, chord, states
from kombu.exceptions import OperationalError

from celeriac import BrokerUnavailable
from celeriac.errors import StoreUnavailable
from tests.integration.breaking import REFUSALS
from tests.integration.sites import APP, Site, counts, lines, open_gate, wait_line
from tests.integration.tasks import make_app
from tests.support import wait_for
from tests.support.forking import ROOT
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool, Worker

POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]
#: Only a parent that lost a process hands back what runs.
_REFUSED_IN = [(name, pool) for name in REFUSALS for pool in POOLS if name != "release" or pool == "prefork"]


@contextmanager
def _locked(site: Site) -> Iterator[None]:
    """Another process's long transaction."""
    raw = sqlite3.connect(site.folder / "site.db", isolation_level=None, check_same_thread=False)
    raw.execute("PRAGMA busy_timeout = 10000")
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        raw.execute("ROLLBACK")
        raw.close()


def _after(seconds: float) -> Callable[[], bool]:
    """True once so much time has passed: here a duration is what is tested."""
    over = threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.daemon = True
    timer.start()
    return over.is_set


@pytest.mark.parametrize("pool", POOLS)
def test_locked_while_tasks_end(site: Site, pool: Pool) -> None:
    """Longer than the lease: nobody else could take it either."""
    journal, gate, follower = site.file(), site.file("gate"), site.file("follower")
    slots = 1 if pool == "solo" else 2
    worker = site.worker(pool, concurrency=slots)
    link = site.effect_of.s(follower)
    ids = [site.hold.apply_async((journal, gate, str(number)), link=link).id for number in range(slots)]
    wait_for(lambda: len(lines(journal)) == slots)
    with _locked(site):
        open_gate(gate)
        wait_for(lambda: len(lines(journal)) == 2 * slots)
        wait_for(_after(3))
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal).values()) == {1}
    wait_for(lambda: len(lines(follower)) >= slots)
    assert set(counts(follower).values()) == {1}
    assert site.letters() == []
    assert worker.running


@pytest.mark.parametrize(("method", "pool"), _REFUSED_IN)
def test_refused_three_times(site: Site, method: str, pool: Pool) -> None:
    """Whatever the worker was asking of the store, it asks again; nothing becomes a task's failure."""
    journal, gate, ends = site.file(), site.file("gate"), site.file("ends")
    holder = site.keyed_hold.delay("k", journal, gate)
    alias = site.keyed_hold.apply_async(("k", journal, gate), task_id="alias", link=site.effect_of.s(ends))
    effects = [site.effect.delay(journal, str(number)) for number in range(10)]
    joined = chord([site.add.s(1, 1), site.add.s(2, 2)], site.effect_of.s(ends)).delay()
    slots = 1 if pool == "solo" or method == "release" else 3
    worker = site.worker(pool, concurrency=slots, break_at=method)
    wait_line(journal, "begin k")
    if method == "release":
        worker.kill_child()
    if method in ("release", "extend", "start"):
        wait_for(lambda: _refusals(site), 30, "the store was never asked")
    open_gate(gate)
    results = [holder, alias, *effects, joined, *joined.parent.results]
    records = site.wait_ended([result.id for result in results])
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert {counts(journal)[str(number)] for number in range(10)} == {1}
    wait_for(lambda: len(lines(ends)) == 2)
    assert sorted(lines(ends)) == ["[2, 4]", "k"]
    assert site.letters() == []
    assert worker.running
    assert _refusals(site), "the store was never asked"


def _refusals(site: Site) -> list[Path]:
    return list(site.folder.glob("broken-*-*"))


@pytest.mark.parametrize("pool", POOLS)
def test_locked_again_and_again_under_load(site: Site, pool: Pool) -> None:
    journal = site.file()
    worker = site.worker(pool, wait=False, concurrency=1 if pool == "solo" else 2)
    results = [
        chain(site.effect.si(journal, f"{number} first"), site.effect.si(journal, f"{number} second")).delay()
        for number in range(60)
    ]
    for _ in range(3):
        with _locked(site):
            wait_for(_after(0.6))
    ids = [task_id for result in results for task_id in (result.id, result.parent.id)]
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == {f"{number} {step}": 1 for number in range(60) for step in ("first", "second")}
    assert worker.running


def test_a_publish_on_a_locked_store_says_so_and_sends_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, celeriac_publish_timeout=0.3)
    site.add.delay(1, 1)
    with _locked(site), pytest.raises(OperationalError, match="locked") as caught:
        site.add.delay(1, 2)
    assert isinstance(caught.value, BrokerUnavailable)
    assert isinstance(caught.value, StoreUnavailable)
    assert site.queues()["celery"].ready == 1
    site.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("pool", POOLS)
def test_a_full_disk_while_tasks_end(
    small_disk: Path, tmp_path: Path, pool: Pool, request: pytest.FixtureRequest
) -> None:
    site = Site(small_disk)
    request.node.stash[PROGRAMS] = site.workers
    journal, gate = str(tmp_path / "journal"), str(tmp_path / "gate")
    slots = 1 if pool == "solo" else 2
    worker = site.worker(pool, concurrency=slots)
    held = [site.hold.delay(journal, gate, str(number)).id for number in range(slots)]
    keyed = [site.keyed.delay(str(number), journal).id for number in range(5)]
    wait_for(lambda: sum(line.startswith("begin") for line in lines(journal)) == slots)
    filler = small_disk / "filler"
    _fill(filler)
    open_gate(gate)
    wait_for(lambda: sum(line.startswith("end") for line in lines(journal)) == slots)
    wait_for(_after(2.5))
    filler.unlink()
    records = site.wait_ended([*held, *keyed])
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert set(counts(journal).values()) == {1}
    assert site.letters() == []
    assert worker.running
    worker.close()
    site.close()


def _fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
    except OSError:
        return


# -- the store at the start of a worker


def _worker_on(path: Path, folder: Path, pool: Pool = "solo", **settings: object) -> Worker:
    env = {"SITE_BROKER": f"sqlite:///{path}", "SITE_SETTINGS": json.dumps(settings)}
    return Worker(APP, folder, pool=pool, env=env)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_waits_for_a_folder_that_is_not_there_yet(tmp_path: Path, pool: Pool) -> None:
    path = tmp_path / "volume" / "shop.db"
    with closing(_worker_on(path, tmp_path, pool)) as worker:
        worker.spawn()
        wait_for(lambda: "Trying again in 2 seconds" in worker.log(), 60, worker.tail)
        assert f"the folder {path.parent} does not exist; create it" in worker.log()
        assert "Traceback" not in worker.log()
        path.parent.mkdir()
        worker.wait_ready()
        app = make_app(f"sqlite:///{path}")
        assert app.tasks["add"].delay(1, 2).get(timeout=30) == 3
        app.close()
        app.store.close()


def test_a_worker_told_not_to_wait_ends_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "volume" / "shop.db"
    with closing(_worker_on(path, tmp_path, broker_connection_retry_on_startup=False)) as worker:
        worker.spawn()
        assert worker.wait() == 1
        _ended_with(worker, f"Error: store {path}: not available for now (the folder {path.parent} does not exist")


def test_a_worker_on_a_file_that_is_no_store_ends_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_bytes(b"something else entirely " * 100)
    with closing(_worker_on(path, tmp_path)) as worker:
        worker.spawn()
        assert worker.wait() == 1
        _ended_with(worker, f"Error: store {path}: corrupt, or not a celeriac store")
    assert path.read_bytes() == b"something else entirely " * 100


def _ended_with(worker: Worker, text: str) -> None:
    assert worker.log().splitlines()[-1].startswith(text)
    assert "Traceback" not in worker.log()


def test_a_worker_made_by_a_program_raises(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_bytes(b"something else entirely " * 100)
    program = f"from tests.integration.tasks import make_app; make_app('sqlite:///{path}').Worker(pool='solo')"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"celeriac.errors.StoreCorrupt: store {path}: corrupt")


def test_a_soft_limit_that_passes_while_the_end_is_written_undoes_nothing(site: Site) -> None:
    journal, gate, after = site.file(), site.file("gate"), site.file("after")
    site.worker("prefork")
    result = site.hold.apply_async((journal, gate, "a"), soft_time_limit=2, link=site.effect.si(after, "link"))
    wait_line(journal, "begin a")
    passed = _after(3.5)
    with _locked(site):
        open_gate(gate)
        wait_line(journal, "end a")
        wait_for(passed)
    assert result.get(timeout=30) == "a"
    wait_line(after, "link")
    site.wait_ended([result.id])
    assert site.letters() == []
