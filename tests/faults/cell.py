"""One cell: a broker, a fault, workers, a client; and in the end the books."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.errors import StoreError
from tests.faults import journal
from tests.faults.brokers import Broker
from tests.faults.client import STOP, publish_noting
from tests.faults.injections.base import Fault, Post
from tests.faults.journal import INJECTED, RAN, Counted
from tests.faults.meanwhile import Doing, Pauses, Standstills
from tests.faults.plan import PLAN, SETTINGS, URL, Plan, Wrap
from tests.faults.receivers import Receivers
from tests.faults.tasks import make_app
from tests.faults.verdict import Books, Verdict, judge, read_books
from tests.support import Program, Worker, patient, wait_for
from tests.support.proxy import Proxy

APP = "tests.faults.app"
#: Seconds in which something must happen, as a round's progress.
PROGRESS = 90.0
#: Runs between two rounds.
RUNS_A_ROUND = 15


@dataclass(frozen=True)
class Size:
    """How much: units published at least, seconds between them, rounds of a fault, and how many workers.

    ``still`` are the seconds without any movement after which nobody waits for the end of everything.
    """

    units: int
    pace: float
    rounds: int
    workers: int = 3
    still: float = 20.0


SIZES = {"short": Size(40, 0.01, 2, 2), "full": Size(500, 0.005, 5)}


class Cell:
    """One run; ``close`` ends all that it started.

    Args:
        folder: empty; keeps every journal and log.
        build: the name of a guard that the workers lack.
    """

    def __init__(
        self, broker: Broker, fault: Fault, folder: Path, seed: int, size: Size, *, build: str = "", **settings: Any
    ) -> None:
        self.broker, self.fault, self.folder, self.size = broker, fault, folder, size
        self._stack = ExitStack()
        self.place = broker.place(folder, fault.need)
        self._stack.callback(self.place.close)
        rounds = fault.rounds(size.rounds)
        self.random = random.Random(seed)
        self.plan = Plan(
            str(folder),
            self.place.url,
            seed,
            size.units,
            size.pace,
            fault.kinds,
            {**SETTINGS, **self.place.settings, **fault.settings, **settings},
            [self._meant(wrap) for wrap in fault.wraps(rounds)],
            fault.long_one_in,
            build,
        )
        self.plan.write()
        self.lease: float = self.plan.settings["celeriac_lease_seconds"]
        self.receivers = Receivers(folder)
        self._stack.callback(self.receivers.close)
        self.app: Any = make_app(self.plan)
        self._stack.callback(self._close_app)
        self.proxy = self._stack.enter_context(Proxy(*self.place.address())) if fault.proxied else None
        self.workers: list[Worker] = []
        self._posts: list[Post] = []
        self.restarts = fault.restarts
        self._doings: list[Doing] = []
        self._ran, self._injected = Counted(folder, RAN), Counted(folder, INJECTED)

    def _meant(self, wrap: Wrap) -> Wrap:
        return replace(wrap, method=self.broker.claim) if wrap.method == "claim" else wrap

    def _close_app(self) -> None:
        self.app.close()
        self.app.store.close()

    # -- running

    def run(self) -> Verdict:
        """Start, hurt, wait until all is quiet, and account. Workers that are stuck say where, in their logs."""
        quiet = False
        try:
            quiet = self._hurt_until_quiet()
        finally:
            for worker in self.workers:
                (worker.close if quiet else worker.abort)()
        return self.account()

    def _hurt_until_quiet(self) -> bool:
        self.fault.prepare(self)
        for post in self.fault.posts[: self.size.workers]:
            self.hire(post)
        if "called" in self.plan.kinds:
            self._meanwhile(Standstills)
        self.client = self.start_client()
        self.until(lambda: all(worker.ready() for worker in self.workers), PROGRESS, "the workers do not start")
        self._meanwhile(Pauses)
        for number in range(self.fault.rounds(self.size.rounds)):
            self.progress()
            self.fault.inject(self, number)
        self.progress()
        self.until(
            lambda: all(doing.took_part for doing in self._doings), PROGRESS, "nothing is paused, or nobody calls"
        )
        Path(self.folder, STOP).touch()
        for doing in self._doings:
            doing.end()
        self.until(lambda: not self.client.running, PROGRESS, "the client does not end")
        self.until(lambda: all(doing.ended for doing in self._doings), PROGRESS, "what is paused cannot be resumed")
        return self.wait_until_quiet()

    def _meanwhile(self, kind: type[Doing]) -> None:
        if self.fault.disturbed:
            doing = kind(self.app, self.folder)
            self._stack.callback(doing.end)
            self._doings.append(doing)
            doing.start()

    def account(self) -> Verdict:
        self.books: Books = read_books(self.folder, self.receivers, self.app, journal.now() - time.time())
        fault = self.fault
        return judge(self.books, excuses=fault.excuses, clock_is_right=fault.clock_is_right)

    def wait_until_quiet(self) -> bool:
        """Until nothing is left to do; false when nothing has moved for a while, and that is what the verdict says then."""
        last, since = (0, 0), time.monotonic()
        while time.monotonic() - since < patient(self.size.still) and not self.abandoned:
            self.tend()
            pending = self._pending()
            if not pending:
                return True
            if (pending, self._ran.count()) != last:
                last, since = (pending, self._ran.count()), time.monotonic()
            time.sleep(0.05)
        return False

    def _pending(self) -> int:
        with suppress(StoreError, OperationalError, SubprocessError):
            return self.broker.pending(self.app)
        return -1

    @property
    def abandoned(self) -> bool:
        """Nobody is there any more, and nobody will come."""
        return self.restarts <= 0 and not any(worker.running for worker in self.workers)

    # -- processes

    def hire(self, post: Post) -> Worker:
        """One more worker, which need not be ready."""
        env = {PLAN: str(self.plan.path)}
        if self.proxy is not None and not self._posts:
            env[URL] = self.place.through(self.proxy.port)
        worker = self._spawn(post, env)
        self.workers.append(worker)
        self._posts.append(post)
        return worker

    def replace(self, place: int, post: Post | None = None) -> Worker:
        """Another worker at this place, under a name of its own, and at this post; what is left of the old one is not touched."""
        self._posts[place] = post or self._posts[place]
        self.workers[place] = self._spawn(self._posts[place], self.workers[place].env)
        return self.workers[place]

    def _spawn(self, post: Post, env: Mapping[str, str]) -> Worker:
        worker = Worker(
            APP, self.folder, pool=post.pool, concurrency=post.concurrency, env=env, arguments=post.arguments
        )
        self._stack.callback(worker.close)
        worker.spawn()
        return worker

    def start_client(self) -> Program:
        env = {PLAN: str(self.plan.path)}
        if self.proxy is not None:
            env[URL] = self.place.through(self.proxy.port)
        client = Program([sys.executable, "-m", "tests.faults.client"], self.folder, name="client", env=env)
        self._stack.callback(client.close)
        client.spawn()
        return client

    def publish(self, unit: str) -> None:
        """Publish a unit of a kind that is not in the mix; another of its kind when that is unknown."""
        if not publish_noting(self.app, self.folder, unit):
            self.publish(f"{unit}x")

    def tend(self) -> None:
        """Whoever looks after a worker starts it again when it has died."""
        for place, worker in enumerate(self.workers):
            if not worker.running and self.restarts > 0:
                self.restarts -= 1
                worker.close()
                self.replace(place)

    # -- waiting

    def until(self, condition: Callable[[], Any], timeout: float, message: str) -> None:
        """Wait for it, looking after the workers meanwhile."""

        def asked() -> bool:
            self.tend()
            return bool(condition())

        wait_for(asked, timeout, lambda: f"{message}\n{self._tails()}", interval=0.05)

    def progress(self, runs: int = RUNS_A_ROUND) -> None:
        """Until so many more runs have begun."""
        wanted = self._ran.count() + runs
        self.until(lambda: self._ran.count() >= wanted, PROGRESS, "the workers do nothing")

    def works(self, worker: Worker, runs: int = 3) -> None:
        """Until this worker has begun some more runs: what befalls it must not befall an idle one."""
        ran = Counted(self.folder, RAN, worker.nodename)
        wanted = ran.count() + runs
        self.until(lambda: ran.count() >= wanted, PROGRESS, f"{worker.name} does nothing")

    def injected(self, times: int) -> None:
        """Until something was injected so often, by whichever process."""
        self.until(lambda: self._injected.count() >= times, PROGRESS, f"{self.fault.name}: not injected {times} times")

    def lasting(self, seconds: float) -> None:
        """Let so much time pass: here a duration is the fault."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + 30, "time stands still")

    @contextmanager
    def injecting(self, what: str = "") -> Iterator[None]:
        with journal.injecting(self.folder, what or self.fault.name):
            yield

    def _tails(self) -> str:
        return "\n".join(f"-- {worker.name}\n{worker.tail(15)}" for worker in self.workers)

    def close(self) -> None:
        self._stack.close()
