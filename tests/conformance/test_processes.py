"""Many real processes on one file: nothing lost, nothing settled twice, whoever is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from celeriac.core.attempt import DeadLetterFilter
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.conformance.harness import claim
from tests.conformance.postgres import PostgresHarness
from tests.conformance.redis import RedisHarness
from tests.conformance.working import DONE, open_at
from tests.support import wait_for

PUBLISHERS, EACH, WORKERS = 2, 1_500, 3
#: Processes that are killed.
RAMPAGE = 15


class Processes:
    """The processes of one test."""

    def __init__(self, folder: Path, stack: ExitStack, place: str = "") -> None:
        self.path = folder / "shop.db"
        #: The store: this file, unless it is elsewhere.
        self.place = place or str(self.path)
        self.log = folder / "accepted"
        self._stack = stack

    def start(self, role: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.conformance.working", self.place, role, str(log or self.log)]
        # To a file: a pipe that nobody reads would stop it.
        said = self.log.with_name(f"said-{role}-{time.monotonic_ns()}")
        with said.open("w") as out:
            process = subprocess.Popen([*command, *arguments], stderr=out, text=True)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def wait_ready(self, process: subprocess.Popen[str]) -> None:
        """Until it has begun its work."""
        wait_for((self.log.parent / f"ready-{process.pid}").exists, 60, lambda: str(self.complaints()))

    def complaints(self) -> list[str]:
        """What any of them wrote to its error output."""
        return [text for said in self.log.parent.glob("said-*") if (text := said.read_text())]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def anywhere(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """The same on each store."""
    with ExitStack() as stack:
        place = ""
        if request.param != "sqlite":
            kinds: dict[str, Callable[[str], PostgresHarness | RedisHarness]] = {
                "postgres": PostgresHarness,
                "redis": RedisHarness,
            }
            harness = kinds[request.param](request.getfixturevalue(f"{request.param}_url"))
            stack.callback(harness.close)
            place = harness.place
        yield Processes(tmp_path, stack, place)


def test_every_message_is_settled_exactly_once(anywhere: Processes) -> None:
    workers = [anywhere.start("work") for _ in range(WORKERS)]
    publishers = [anywhere.start("publish", f"p{number}", f"{EACH}") for number in range(PUBLISHERS)]
    assert [publisher.wait() for publisher in publishers] == [0] * PUBLISHERS
    _check_exactly_once(anywhere, _accepted(anywhere), at_least=PUBLISHERS * EACH)
    assert [worker.poll() for worker in workers] == [None] * WORKERS, anywhere.complaints()


def test_every_accepted_message_is_settled_though_processes_are_killed(anywhere: Processes) -> None:
    seed = int(os.environ.get("CELERIAC_TEST_SEED") or random.randrange(2**32))
    sys.stdout.write(f"CELERIAC_TEST_SEED={seed}\n")
    _rampage(anywhere, random.Random(seed))
    anywhere.start("work")
    _check_exactly_once(anywhere, _accepted(anywhere), at_least=1)


def test_all_processes_may_be_the_first(processes: Processes) -> None:
    """One makes the schema; the others neither fail nor make it again."""
    rounds, count = 25, 6
    assert processes.start("open", f"{rounds}", f"{count}").wait() == 0, processes.complaints()
    assert processes.complaints() == []
    for number in range(rounds):
        store = SQLiteStore(processes.path.with_name(f"{number}.db"))
        assert len(claim(store)) == count
        store.close()


def test_the_log_stays_bounded_while_several_write(processes: Processes) -> None:
    """SQLite alone lets it grow for as long as there is never a pause between two writers."""
    bound, seconds = 4 * 1024 * 1024, 3.0
    writers = [processes.start("write", f"{bound}", f"{seconds}") for _ in range(2)]
    log = processes.path.with_name("shop.db-wal")
    sizes = []
    while any(writer.poll() is None for writer in writers):
        sizes.append(log.stat().st_size if log.exists() else 0)
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0], processes.complaints()
    assert bound < max(sizes) < 6 * bound


def _rampage(processes: Processes, chance: random.Random) -> None:
    """Publish and work while one after the other is killed and started again."""
    running = {name: processes.start(*_role(name)) for name in ("p0", "w0", "w1", "w2")}
    for number in range(1, RAMPAGE + 1):
        name = chance.choice(sorted(running))
        processes.wait_ready(running[name])
        time.sleep(chance.uniform(0.05, 0.4))
        running[name].kill()
        running[name].wait()
        del running[name]
        successor = name if name[0] == "w" else f"p{number}"
        running[successor] = processes.start(*_role(successor))
    for process in running.values():
        process.kill()
        process.wait()


def _role(name: str) -> tuple[str, ...]:
    return ("work",) if name[0] == "w" else ("publish", name, f"{EACH}")


def _accepted(processes: Processes) -> list[str]:
    return processes.log.read_text().split()


def _check_exactly_once(processes: Processes, accepted: list[str], *, at_least: int) -> None:
    store = open_at(processes.place)
    wait_for(lambda: [size.queue for size in store.sizes()] == [DONE], 60, lambda: str(store.sizes()))
    assert len(accepted) >= at_least
    states = Counter(record.state for record in store.records(accepted).values())
    assert states == {"SUCCESS": len(accepted)}
    settled = Counter(str(trace.body) for trace in claim(store, DONE, limit=1_000_000))
    assert set(settled.values()) == {1}
    # Who was killed between the commit and the note was not told that it was accepted.
    assert set(accepted) <= set(settled)
    assert store.count_dead_letters(DeadLetterFilter()) == 0
    if isinstance(store, SQLiteStore):
        with store.database.reading() as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
    assert processes.complaints() == []
