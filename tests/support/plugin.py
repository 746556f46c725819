"""The pytest plugin of these helpers: fixtures that reap what they started, logs beside failures, no survivors."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

import psutil
import pytest

from tests.support import guardian
from tests.support.forking import ForkServer
from tests.support.processes import MARK, describe, kill, started_by
from tests.support.program import Program
from tests.support.servers import ServerMissing, server_url
from tests.support.waiting import TimedOut, wait_for
from tests.support.worker import Pool, Worker

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = TypeVar("P", bound=Program)
PROGRAMS = pytest.StashKey[list[Program]]()
#: Each kind of test has its folder, and `-m` selects by the same name.
KINDS = ("conformance", "docs", "e2e", "faults", "integration", "typing", "unit")

#: Processes that run tests at the same time; each starts several more.
MANY = 8


class WorkerOptions(TypedDict, total=False):
    """What `Worker` takes besides the app."""

    pool: Pool
    concurrency: int
    queues: Sequence[str]
    env: Mapping[str, str]
    arguments: Sequence[str]
    quiet: bool


class Programs:
    """Starts the programs of one test, in its own folder, and closes them all with itself."""

    def __init__(self, folder: Path, started: list[Program]) -> None:
        self.folder = folder
        self._started = started
        self._stack = ExitStack()

    def start(self, program: P) -> P:
        """Start `program` and wait until it is ready."""
        self._started.append(program)
        self._stack.callback(program.close)
        program.start()
        return program

    def close(self) -> None:
        self._stack.close()


class WorkerFactory(Programs):
    """Starts workers: `worker_factory("tests.support.tiny", pool="threads", concurrency=4)`."""

    def __call__(self, app: str, **options: Unpack[WorkerOptions]) -> Worker:
        return self.start(Worker(app, self.folder, **options))


@pytest.fixture
def worker_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkerFactory]:
    """Starts real workers, and with `start` other programs; ready when the call returns, dead when the test is over."""
    factory = WorkerFactory(tmp_path, request.node.stash.setdefault(PROGRAMS, []))
    yield factory
    factory.close()


@pytest.fixture
def redis_url() -> str:
    """The URL of a real Redis, which others may use too: name queues and keys uniquely. Without one the test is skipped."""
    return server("CELERIAC_REDIS_URL")


@pytest.fixture
def postgres_url() -> str:
    """The URL of a real PostgreSQL, which others may use too: make a schema. Without one the test is skipped."""
    return server("CELERIAC_POSTGRES_URL")


@pytest.fixture
def amqp_url() -> str:
    """The URL of a real RabbitMQ, which others may use too: name queues and exchanges uniquely. Without one the test is skipped."""
    return server("CELERIAC_AMQP_URL")


def server(variable: str) -> str:
    """The URL of a real server. Without one the test is skipped."""
    try:
        return server_url(variable)
    except ServerMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session", autouse=True)
def no_process_outlives_the_session() -> Iterator[None]:
    """Fail the run when a process that it started is still alive at its end, and end that process."""
    mark = os.environ[MARK]
    guard = guardian.start(mark)
    Program.forks = forks = ForkServer()
    yield
    forks.close()
    Program.forks = None
    left = _left(mark, guard.pid)
    told = "\n".join(map(describe, left))
    kill(left)
    guard.communicate()
    assert not left, f"still alive after the last test:\n{told}"


def _left(mark: str, guard: int) -> list[psutil.Process]:
    """What is alive after a moment for what is just ending."""
    try:
        wait_for(lambda: not started_by(mark, exempt=[guard]), 5)
    except TimedOut:
        return started_by(mark, exempt=[guard])
    return []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: most tests wait most of the time, so one more than there are cores."""
    return min(MANY, len(os.sched_getaffinity(0)) + 1)


def pytest_configure() -> None:
    os.environ[MARK] = uuid.uuid4().hex


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for kind in set(KINDS).intersection(item.path.parts):
            item.add_marker(kind)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for program in item.stash.get(PROGRAMS, []):
            report.sections.append((f"log of {program.name}", program.tail()))
    return report
