"""The file is deleted, moved or replaced under processes that use it: loud, at once, and nothing goes to nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.errors import StoreReplaced
from tests.integration.sites import Site, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.worker import Pool


def _delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def _copy(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def _lose_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


WAYS: list[Callable[[Path], None]] = [_delete, _move, _copy, _lose_log]


def _path(site: Site) -> Path:
    return Path(site.store.location)


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_a_publisher_is_told_and_a_worker_ends(site: Site, pool: Pool, change: Callable[[Path], None]) -> None:
    worker = site.worker(pool)
    assert site.add.delay(1, 1).get(timeout=30) == 2
    change(_path(site))
    for _ in range(2):
        with pytest.raises(StoreReplaced, match="restart every process"):
            site.add.delay(1, 1)
    assert worker.wait() != 0
    assert "no longer the file that was opened" in worker.log()


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_a_worker_ends_also_from_the_middle_of_a_task(site: Site, pool: Pool) -> None:
    journal, gate = site.file(), site.file("gate")
    worker = site.worker(pool)
    site.hold.delay(journal, gate, "a")
    wait_line(journal, "begin a")
    _delete(_path(site))
    if pool == "solo":
        open_gate(gate)
    wait_for(lambda: "no longer the file that was opened" in worker.log(), 30, worker.tail)
    open_gate(gate)
    assert worker.wait() != 0
    assert lines(journal)[0] == "begin a"


def test_a_new_process_takes_what_is_there_now(site: Site) -> None:
    with site.working():
        assert site.add.delay(1, 1).get(timeout=30) == 2
    _delete(_path(site))
    again = Site(site.folder)
    with again.working():
        assert again.add.delay(1, 1).get(timeout=30) == 2
    again.close()
