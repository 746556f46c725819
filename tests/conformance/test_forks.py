"""No connection is open across a fork, so that children lose nothing of anybody's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from tests.conformance.forking import OPEN, WELL
from tests.conformance.postgres import PostgresHarness
from tests.conformance.redis import RedisHarness
from tests.support import patient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
FORKS = 60


class Report(TypedDict):
    ends: list[int]
    errors: list[str]
    lost: list[str]
    check: str


def _fork_under_load(place: object, *arguments: str) -> tuple[Report, str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.forking", str(place), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=True)
    report: Report = json.loads(done.stdout.splitlines()[-1])
    return report, done.stderr


def test_children_of_a_busy_parent_lose_nothing(tmp_path: Path) -> None:
    report, said = _fork_under_load(tmp_path / "shop.db", str(FORKS))
    assert report["errors"] == [], said
    assert report["ends"] == [WELL] * FORKS, said
    assert (report["lost"], report["check"], said) == ([], "ok", "")


@pytest.mark.parametrize("kind", [PostgresHarness, RedisHarness], ids=["postgres", "redis"])
def test_children_of_a_busy_parent_leave_its_server_connections_alone(
    kind: type[PostgresHarness | RedisHarness], request: pytest.FixtureRequest
) -> None:
    harness = kind(request.getfixturevalue("postgres_url" if kind is PostgresHarness else "redis_url"))
    try:
        report, said = _fork_under_load(harness.place, str(FORKS))
        assert report["errors"] == [], said
        assert report["ends"] == [WELL] * FORKS, said
        assert (report["lost"], said) == ([], "")
    finally:
        harness.close()


def test_without_the_hooks_a_child_inherits_connections(tmp_path: Path) -> None:
    """What the hooks are for: this is how a child would find the file open."""
    report, _ = _fork_under_load(tmp_path / "shop.db", "10", "bare")
    assert report["ends"] == [OPEN] * 10


def test_a_child_opens_stores_though_its_parent_was_opening_one(tmp_path: Path) -> None:
    """The thread that held the lock is not in the child, and would never let it go there."""
    command = [sys.executable, "-W", "ignore", "-c", _OPEN_WHILE_LOCKED, f"sqlite:///{tmp_path}/shop.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert (done.returncode, done.stderr) == (0, "")


_OPEN_WHILE_LOCKED = """
import os, signal, sys, threading
from celeriac.store import registry

held, forked = threading.Event(), threading.Event()

def open_slowly():
    with registry._LOCK:
        held.set()
        forked.wait()

thread = threading.Thread(target=open_slowly)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    registry.open_sqlite(sys.argv[1]).sizes()
    os._exit(0)
end = os.waitpid(child, 0)[1]
forked.set()
thread.join()
registry.open_sqlite(sys.argv[1]).sizes()
raise SystemExit(end)
"""
