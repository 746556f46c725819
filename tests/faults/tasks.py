"""The tasks of the fault matrix: each notes that it runs, takes a moment, and has one effect that can be counted."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from kombu.exceptions import OperationalError

from celeriac import Celery, Circuit, Concurrency, Rate, Retries, Snooze
from celeriac.errors import StoreError
from tests.faults.journal import PLAIN, PUT_OFF, RAN, injecting, note, now
from tests.faults.plan import Plan
from tests.faults.receivers import asked, honour, inside, pay, stands_still

#: Seconds that a body takes: a long one is marked as started.
LONG, SHORT = (0.06, 0.15), (0.0, 0.004)
#: Runs of a task that retries before the one that succeeds, and seconds between them.
FAILURES, COUNTDOWN = 2, 0.3
CHILDREN = 2
#: Values of the limits' key, how many tasks of each run at once at most, and seconds that one takes.
LANES, AT_ONCE, LIMITED = 2, 2, (0.01, 0.05)
#: How often a task is put off, as often as crashes would bury it; and for how many seconds.
SNOOZES, SNOOZE = 3, 0.15
#: What some tasks call. They have so many retries, and seconds before each, that only those whom the circuit keeps back outlast its
#: standstill.
GATEWAY = Circuit("gateway", failures=0.2, window=5, minimum=3, open_for=0.5, on=TimeoutError)
CALLS, CALL_AGAIN = 15, 0.05
#: Seconds between tries of a publish under a key, and how many there are.
AGAIN, TRIES = 0.1, 600
#: Seconds that poison lives: it is marked as started by then.
POISON_LIVES = 0.25

#: Called in every body, with the task's id, before it has its effect.
in_body: list[Callable[[str], None]] = []
_DECLARED: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def make_app(plan: Plan) -> Celery:
    """An app with these tasks on the cell's broker."""
    app = Celery("faults", broker=plan.url)
    app.conf.update(plan.settings)
    for function, options in _DECLARED:
        # Not for every app of the process, as Celery has it.
        app.task(name=function.__name__, bind=True, shared=False, **options)(function)
    app.finalize()
    app.faults_plan = plan
    return app


def task(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a task of the app."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _DECLARED.append((function, options))
        return function

    return declare


def insist(publish: Callable[[], Any]) -> Any:
    """Publish under a key until that is accepted: a publish that raised is unknown, and the key makes repeating it safe."""
    for _ in range(TRIES):
        try:
            return publish()
        except (OperationalError, StoreError):
            time.sleep(AGAIN)
    return publish()


def _run(self: Any, unit: str, step: str, short: tuple[float, float] = SHORT) -> str:
    """Note the run, and take a moment; returns where the journals are."""
    folder: str = self.app.faults_plan.folder
    request = self.request
    note(
        folder,
        RAN,
        t=now(),
        unit=unit,
        step=step,
        id=request.id,
        retries=request.retries,
        pid=os.getpid(),
        worker=request.hostname,
    )
    long = random.random() * self.app.faults_plan.long_one_in < 1
    time.sleep(random.uniform(*(LONG if long else short)))
    for hook in in_body:
        hook(request.id)
    return folder


@task()
def plain(self: Any, unit: str, ballast: str = "") -> int:
    """An effect that nobody protects."""
    note(_run(self, unit, "plain"), PLAIN, unit=unit, step="plain")
    return len(ballast)


@task()
def paid(self: Any, unit: str, step: str = "paid") -> str:
    """An effect in a transactional receiver."""
    pay(_run(self, unit, step), self.request.id, unit, step)
    return unit


@task()
def honoured(self: Any, unit: str, step: str = "honoured") -> str:
    """An effect in a receiver that honours keys."""
    honour(_run(self, unit, step), self.request.id, unit, step)
    return unit


@task(idempotency_key="{unit}/{step}")
def keyed(self: Any, unit: str, step: str = "keyed") -> str:
    """The same, published under a key of its own."""
    honour(_run(self, unit, step), self.request.id, unit, step)
    return unit


@task(limits=[Concurrency(AT_ONCE, key="lane:{lane}"), Rate("300/s", name="everybody")])
def limited(self: Any, unit: str, lane: int, failures: int = 0) -> str:
    """Waits for its limits, before each of its retries too."""
    request = self.request
    with inside(self.app.faults_plan.folder, lane, unit, request.id, request.retries):
        folder = _run(self, unit, "limited", LIMITED)
        if request.retries < failures:
            raise self.retry(countdown=COUNTDOWN)
        pay(folder, request.id, unit, "limited")
    return unit


@task()
def snoozed(self: Any, unit: str) -> str:
    """Comes too early again and again, which is no attempt."""
    folder = _run(self, unit, "snoozed")
    if asked(folder, self.request.id) <= SNOOZES:
        note(folder, PUT_OFF, t=now(), id=self.request.id)
        raise Snooze(SNOOZE)
    pay(folder, self.request.id, unit, "snoozed")
    return unit


@task(circuits=GATEWAY, retries=Retries(CALLS, backoff=CALL_AGAIN, growth="fixed", jitter="none", on=TimeoutError))
def called(self: Any, unit: str) -> str:
    """Calls a gateway that stands still at times."""
    folder = _run(self, unit, "called")
    if stands_still(folder):
        raise TimeoutError("the gateway does not answer")
    pay(folder, self.request.id, unit, "called")
    return unit


@task()
def joined(self: Any, members: list[str], unit: str) -> str:
    """A chord's body: wrong when a member is missing."""
    whole = "joined" if members == [unit] * len(members) else "joined-of-others"
    pay(_run(self, unit, "joined"), self.request.id, unit, whole)
    return unit


@task(retries=Retries(FAILURES, backoff=COUNTDOWN, growth="fixed", jitter="none", budget=3600))
def flaky(self: Any, unit: str) -> str:
    """Succeeds when it was retried often enough."""
    folder = _run(self, unit, "flaky")
    if not self.request.retries:
        raise ValueError("as the policy says")
    if self.request.retries < FAILURES:
        raise self.retry()
    pay(folder, self.request.id, unit, "flaky")
    return unit


@task()
def parent(self: Any, unit: str) -> str:
    """Spawns others from its body, which may be repeated: under keys."""
    folder = _run(self, unit, "parent")
    for number in range(CHILDREN):
        child = self.app.tasks["keyed"]
        insist(lambda: child.delay(unit, f"child-{number}"))  # noqa: B023  # called at once
    pay(folder, self.request.id, unit, "parent")
    return unit


@task()
def poison(self: Any, unit: str) -> None:
    """What runs out of memory, as the kernel ends it."""
    folder = _run(self, unit, "poison")
    time.sleep(POISON_LIVES)
    with injecting(folder, "poison"):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
