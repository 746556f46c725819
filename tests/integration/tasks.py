"""The tasks that the integration tests send, and the app that has them, in the tests and in their workers alike."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Task as CeleryTask
from celery import chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

from celeriac import Celery, Circuit, Concurrency, FairShare, Queue, Rate, Retries, Snooze

_DECLARED: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def make_app(url: str, **settings: Any) -> Celery:
    """An app on the store at `url` with every task of this module, under its function's name."""
    app = Celery("site", broker=url)
    with_queues = settings.pop("site_queues", False)
    app.conf.update(settings)
    if with_queues:
        app.conf.task_queues = queues_of(app.conf.task_default_queue)
    for function, options in _DECLARED:
        if settings.get("task_queues") and function.__module__ == "tests.integration.policies":
            continue  # its retries go to a queue that these do not declare
        app.task(name=function.__name__, shared=False, **options)(function)
    app.finalize()
    return app


def queues_of(default: str) -> list[Queue]:
    """The queues of a site that declares some, named after its default one."""
    return [
        Queue(default),
        Queue("elsewhere"),  # where a task's retries go
        Queue(f"{default}.two", concurrency=2),
        Queue(f"{default}.each", limits=[Concurrency(1, key="of:{line}")]),
        Queue(f"{default}.short", time_limit=1),
        Queue(f"{default}.heavy", weight=4),
        Queue(f"{default}.light", weight=1),
        Queue(f"{default}.urgent", order="strict"),
        Queue(f"{default}.one", prefetch=1),
    ]


def task(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a task of every app of these tests."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _DECLARED.append((function, options))
        return function

    return declare


def note(journal: str, line: str) -> None:
    """Append a line, whole, whoever else writes: the effect that tests count."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def lines(journal: str) -> list[str]:
    """What was noted, in order."""
    path = Path(journal)
    return path.read_text().splitlines() if path.exists() else []


def wait_until_open(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


# -- the usual


@task()
def add(x: int, y: int) -> int:
    return x + y


@task()
def collect(values: Any) -> Any:
    return values


@task()
def fail(text: str) -> None:
    raise ValueError(text)


@task()
def fail_with_half_a_character() -> None:
    raise ValueError(os.fsdecode(b"no such file: caf\xe9"))


@task()
def needs(journal: str, gate: str, line: str) -> str:
    """Gives up unless the file `gate` is there."""
    if not Path(gate).exists():
        raise ValueError(f"{line} cannot be done")
    note(journal, line)
    return line


@task(bind=True, max_retries=1, default_retry_delay=0)
def second_time(self: Any, journal: str, line: str) -> str:
    """Is retried once."""
    if not self.request.retries:
        raise self.retry(countdown=0)
    note(journal, line)
    return line


@task(bind=True)
def sends_a_chain(self: Any, journal: str) -> str:
    """Its body sends a canvas."""
    step = self.app.tasks["effect"]
    return str(chain(step.si(journal, "x"), step.si(journal, "y")).apply_async().workflow_id)


@task()
def effect(journal: str, line: str) -> str:
    note(journal, line)
    return line


@task(durable=False)
def left_to_celery(journal: str, line: str, fails: bool = False) -> str:
    note(journal, line)
    if fails:
        raise ValueError(line)
    return line


@task()
def effect_after(_result: Any, journal: str, line: str) -> str:
    note(journal, line)
    return line


@task()
def effect_of(result: Any, journal: str) -> Any:
    note(journal, str(result))
    return result


@task()
def hold(journal: str, gate: str, line: str) -> str:
    """Run until the file `gate` is there."""
    note(journal, f"begin {line}")
    wait_until_open(gate)
    note(journal, f"end {line}")
    return line


@task()
def take(journal: str, line: str, seconds: float) -> str:
    """Take some time."""
    note(journal, f"begin {line}")
    time.sleep(seconds)
    note(journal, f"end {line}")
    return line


@task()
def note_time(journal: str, line: str) -> None:
    note(journal, f"{line} {time.time()}")


@task(bind=True, max_retries=1)
def retry_soon(self: Any, journal: str) -> None:
    """Tell when it runs, and run once more after half a second."""
    note(journal, str(time.time()))
    if not self.request.retries:
        raise self.retry(countdown=0.5)


@task(acks_late=False)
def hold_acked_early(journal: str, gate: str, line: str) -> str:
    held: str = hold(journal, gate, line)
    return held


@task()
def swell(journal: str, line: str, size: int) -> str:
    """Tell who runs it, and keep so many bytes for ever."""
    _KEPT.append(b"x" * size)
    note(journal, f"{line} {os.getpid()}")
    return line


_KEPT: list[bytes] = []


@task()
def peak_memory() -> int:
    """The most that its process ever had in memory, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@task()
async def hold_later(journal: str, gate: str, line: str) -> str:
    return await asyncio.to_thread(hold, journal, gate, line)


@task()
def compute(journal: str, gate: str, line: str) -> str:
    """The same without ever sleeping: not even a greenlet gets its turn."""
    note(journal, f"begin {line}")
    while not Path(gate).exists():
        sum(range(1000))
    note(journal, f"end {line}")
    return line


@task()
def deaf(journal: str) -> None:
    """Wait for ever in a C function that no signal interrupts, as a database's client may wait."""
    note(journal, "begin")
    mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)


@task(limits=[Concurrency(1)])
def deaf_alone(journal: str, first: bool = True) -> str:
    """One at a time; the first waits for ever, as `deaf`."""
    if first:
        deaf(journal)
    return "alone"


@task()
def hold_with_pid(journal: str, gate: str, line: str) -> str:
    note(journal, f"{line} {os.getpid()}")
    wait_until_open(gate)
    return line


@task(ignore_result=True)
def silent(journal: str) -> int:
    note(journal, "silent")
    return 1


@task(bind=True)
def report_progress(self: Any, gate: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    wait_until_open(gate)
    return "done"


@task()
def spawn(x: int) -> str:
    """Publish from inside a body."""
    from celery import current_app

    return str(current_app.tasks["add"].delay(x, 1).id)


@task(bind=True)
def spawn_many(self: Any, count: int) -> dict[str, Any]:
    """Publish many from inside a body."""
    sent = self.app.send_tasks(self.app.tasks["whoami"].s() for _ in range(count))
    ids, children = [result.id for result in sent], [child.id for child in self.request.children]
    return {"id": self.request.id, "ids": ids, "children": children}


@task(bind=True)
def whoami(self: Any) -> dict[str, Any]:
    request = self.request
    return {
        "id": request.id,
        "retries": request.retries,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "redelivered": (request.delivery_info or {}).get("redelivered"),
    }


@task()
def write_pid(journal: str) -> int:
    note(journal, str(os.getpid()))
    return os.getpid()


# -- async


@task()
async def echo_later(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


class Point(BaseModel):
    """A model of pydantic's, as services pass them."""

    x: int


@task(pydantic=True)
async def move_later(point: Point, by: int) -> Point:
    await asyncio.sleep(0.001)
    return Point(x=point.x + by)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


@task()
@_plainly
async def echo_within(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


@task()
async def fail_later(text: str) -> None:
    await asyncio.sleep(0.001)
    raise ValueError(text)


@task()
async def meet(journal: str, line: str, other: str) -> str:
    """Two of these end only when both run at once, on one loop."""
    note(journal, line)
    while other not in lines(journal):  # noqa: ASYNC110  # the other may be in another process
        await asyncio.sleep(0.01)
    return line


@task(bind=True, max_retries=5)
async def retry_later_until(self: Any, retries: int) -> int:
    await asyncio.sleep(0.001)
    if self.request.retries < retries:
        raise self.retry(exc=ValueError("not yet"), countdown=0.01)
    return int(self.request.retries)


@task(bind=True)
async def swap_later(self: Any, x: int, y: int) -> Any:
    await asyncio.sleep(0.001)
    raise self.replace(self.app.tasks["add"].si(x, y))


@task(bind=True)
async def spawn_later(self: Any, journal: str) -> list[str]:
    """Publish from a coroutine, and from what goes on when it is over."""

    async def afterwards() -> None:
        await asyncio.sleep(0.2)
        self.app.tasks["effect"].delay(journal, "afterwards")

    _AFTERWARDS.add(asyncio.create_task(afterwards()))
    await asyncio.sleep(0)
    return [self.request.id, self.app.tasks["effect"].delay(journal, "within").id]


#: A loop keeps its tasks only weakly.
_AFTERWARDS: set[asyncio.Task[None]] = set()


# -- trying again


@task(bind=True, max_retries=5)
def retry_until(self: Any, retries: int, countdown: float = 0.01) -> int:
    if self.request.retries < retries:
        raise self.retry(exc=ValueError("not yet"), countdown=countdown)
    return int(self.request.retries)


@task(bind=True, max_retries=2)
def retry_in_vain(self: Any, journal: str) -> None:
    note(journal, f"run {self.request.retries}")
    raise self.retry(exc=ValueError("never"), countdown=0.01)


@task(bind=True, autoretry_for=(ConnectionError,), max_retries=3, retry_kwargs={"countdown": 0.01})
def autoretry(self: Any, fails: int, journal: str) -> int:
    note(journal, f"run {self.request.retries}")
    if self.request.retries < fails:
        raise ConnectionError("down")
    return int(self.request.retries)


def _connect(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


@task(bind=True)
def call_out(self: Any, port: int, journal: str) -> str:
    note(journal, f"run {self.request.retries}")
    _connect(port)
    return "connected"


@task(bind=True)
async def call_out_later(self: Any, port: int, journal: str) -> str:
    note(journal, f"run {self.request.retries}")
    await asyncio.open_connection("127.0.0.1", port)
    return "connected"


@task(bind=True, retries=Retries(max_retries=200, backoff=0.02, cap=0.05))
def call_out_patiently(self: Any, port: int, journal: str) -> str:
    note(journal, f"run {self.request.retries}")
    _connect(port)
    return "connected"


@task(retries=False)
def call_out_once(port: int, journal: str) -> None:
    note(journal, "run")
    _connect(port)


@task(bind=True, retries=1)
def counted(self: Any, journal: str) -> None:
    note(journal, f"run {self.request.retries}")
    raise ValueError("declared worth one retry")


# -- ending in other ways


@task(throws=(KeyError,))
def expected(key: str) -> None:
    raise KeyError(key)


@task()
def ignored(journal: str) -> None:
    note(journal, "ignored")
    raise Ignore("nothing to say")


@task()
def rejected() -> None:
    raise Reject("not mine")


@task()
def rejected_once(journal: str) -> str:
    """Put itself back once."""
    note(journal, "run")
    if len(lines(journal)) == 1:
        raise Reject("not yet", requeue=True)
    return "done"


@task(bind=True)
def swap(self: Any, x: int, y: int) -> Any:
    raise self.replace(self.app.tasks["add"].si(x, y))


@task(bind=True)
def swap_for_long_chain(self: Any, x: int, steps: int) -> Any:
    add = self.app.tasks["add"]
    raise self.replace(chain(add.si(x, 1), *[add.s(1)] * (steps - 1)))


@task(bind=True)
def swap_for_group(self: Any, x: int) -> Any:
    add = self.app.tasks["add"]
    raise self.replace(group(add.si(x, 1), add.si(x, 2)))


@task()
def sum_up(values: list[int]) -> int:
    return sum(values)


@task()
def pass_through(value: Any, gate: str) -> Any:
    if not Path(gate).exists():
        raise ValueError(f"{gate} is shut")
    return value


@task(bind=True)
def swap_for_chord(self: Any, count: int) -> Any:
    tasks = self.app.tasks
    raise self.replace(chord(group(tasks["add"].si(i, i) for i in range(count)), tasks["collect"].s()))


@task(soft_time_limit=0.5, time_limit=60)
def soft_limited() -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "stopped softly"
    return "not stopped"


@task(soft_time_limit=0.5, time_limit=60)
async def soft_limited_later(journal: str) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(journal, "cancelled")
        raise


@task(soft_time_limit=0.5, time_limit=60)
def softly_busy() -> str:
    """Never waits for long."""
    try:
        wait_until_open("/nowhere/at-all")
    except SoftTimeLimitExceeded:
        return "stopped softly"
    return "not stopped"


@task(time_limit=1)
def stubborn(journal: str, gate: str) -> None:
    """Does not let itself be interrupted."""
    note(journal, "begin")
    while not Path(gate).exists():
        with suppress(Exception):
            wait_until_open(gate)
    note(journal, "end")


@task(time_limit=1)
def hard_limited(journal: str) -> None:
    note(journal, "run")
    time.sleep(60)


class Rude(CeleryTask):  # type: ignore[misc]  # Celery has no types
    """Hooks that raise."""

    abstract = True

    def on_failure(self, *_: Any) -> None:
        raise RuntimeError("on_failure raises")

    def on_retry(self, *_: Any) -> None:
        raise RuntimeError("on_retry raises")

    def on_success(self, *_: Any) -> None:
        raise Reject("on_success rejects")


@task(base=Rude)
def fail_rudely(journal: str) -> None:
    note(journal, "run")
    raise ValueError("the body's own")


@task(base=Rude, ignore_result=True)
def fail_rudely_unread(journal: str) -> None:
    note(journal, "run")
    raise ValueError("the body's own")


@task(base=Rude, bind=True, max_retries=2, default_retry_delay=0)
def retry_rudely(self: Any, journal: str) -> str:
    note(journal, "run")
    if self.request.retries < self.max_retries:
        raise self.retry(exc=ValueError("the body's own"))
    return "done"


@task(base=Rude)
def succeed_rudely(journal: str) -> str:
    note(journal, "run")
    return "done"


@task(base=Rude, time_limit=1)
def hard_limited_rudely(journal: str) -> None:
    note(journal, "run")
    time.sleep(60)


@task()
def leave(journal: str, how: str) -> None:
    """Raise what is no ``Exception``, or what Celery's worker does not survive."""
    note(journal, "run")
    raise {"exit": SystemExit(2), "interrupt": KeyboardInterrupt(), "memory": MemoryError("a lot")}[how]


@task()
def die(journal: str) -> None:
    """Kill the process it runs in."""
    note(journal, "die")
    os.kill(os.getpid(), signal.SIGKILL)


@task(acks_late=False)
def die_acked_early(journal: str) -> None:
    die(journal)


@task(reject_on_worker_lost=False)
def die_and_stay_dead(journal: str) -> None:
    die(journal)


@task()
def die_at_first(journal: str, times: int) -> str:
    """Kill the process it runs in, so many times."""
    if len(lines(journal)) < times:
        note(journal, "die")
        os.kill(os.getpid(), signal.SIGKILL)
    note(journal, "live")
    return "lives"


@task(rate_limit="10/s")
def limited(journal: str, line: str) -> str:
    note(journal, line)
    return line


@task(rate_limit="40/m")
def limited_strictly(journal: str, line: str) -> str:
    note(journal, line)
    return line


@task()
def slowly(journal: str, line: str, seconds: float) -> str:
    time.sleep(seconds)
    note(journal, line)
    return line


@task()
def die_slowly(journal: str, seconds: float) -> None:
    """Kill the process it runs in, after others have been marked as started beside it."""
    note(journal, "die")
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


@task(bind=True)
def grow_and_die(self: Any, journal: str, value: int, send: bool) -> int:
    """Add a member to its chord, and die the first time before, or after, that one is sent."""
    first = not lines(journal)
    note(journal, "run")
    member = self.add_to_chord(self.app.tasks["add"].si(10, 10), lazy=True)
    if send:
        member.delay()
    if first:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    if not send:
        member.delay()
    return value


@task(bind=True)
def grow(self: Any, value: int, lazy: bool) -> int:
    """Add a member to its chord; a lazy one is sent by somebody else."""
    self.add_to_chord(self.app.tasks["add"].si(10, 10), lazy=lazy)
    return value


@task()
def unsendable_result(journal: str) -> object:
    note(journal, "run")
    return object()


# -- of whose end a pool's process sends its parent megabytes


#: Where a message's length is expected, this says one byte.
UNIT = b"\0\0\0\1"


@task(resultrepr_maxsize=10_000_000)
def return_at_length(journal: str, line: str) -> str:
    note(journal, line)
    return line * (5_000_000 // len(line))


@task()
def fail_at_length(journal: str, line: str) -> None:
    note(journal, line)
    raise ValueError(UNIT * 250_000)


# -- callbacks


@task()
def on_error_by_id(task_id: str, *, journal: str) -> None:
    """Sent as a task: Celery does so for what takes one positional argument, the failed task's id."""
    note(journal, f"error {task_id}")


@task()
def on_error_in_place(request: Any, error: Exception, _traceback: Any, journal: str) -> None:
    """Called in place: it takes the failed task's request, its error and traceback."""
    note(journal, f"error {request.id} {type(error).__name__}")


# -- under a key


@task(idempotency_key="key:{key}")
def keyed(key: str, journal: str, amount: int = 0) -> str:
    note(journal, f"{key} {amount}")
    return f"{key} {amount}"


@task(idempotency_key="step:{key}")
def keyed_step(value: int, key: str, journal: str) -> int:
    note(journal, key)
    return value + 1


@task(idempotency_key="hold:{key}")
def keyed_hold(key: str, journal: str, gate: str) -> str:
    note(journal, f"begin {key}")
    wait_until_open(gate)
    return key


@task(bind=True, idempotency_key="fails:{key}")
def keyed_fails(self: Any, key: str, journal: str, gate: str, failures: int) -> str:
    """Fail as often as `failures` says, whoever runs it."""
    note(journal, str(self.request.id))
    wait_until_open(gate)
    if len(lines(journal)) <= failures:
        raise ValueError("holder fails")
    return key


@task(idempotency_key="short:{key}", idempotency_ttl=1.0)
def keyed_briefly(key: str, journal: str) -> str:
    note(journal, key)
    return key


@task(bind=True, idempotency_key="swap:{key}")
def keyed_swap(self: Any, key: str) -> Any:
    raise self.replace(self.app.tasks["add"].si(1, 2))


@task(bind=True, idempotency_key="swap:{key}")
def keyed_swap_for_failure(self: Any, key: str) -> Any:
    raise self.replace(self.app.tasks["fail"].si("replaced"))


@task(bind=True, idempotency_key="swap chain:{key}")
def keyed_swap_for_failing_chain(self: Any, key: str) -> Any:
    tasks = self.app.tasks
    raise self.replace(chain(tasks["fail"].si("in between"), tasks["add"].si(1, 1)))


@task(bind=True, idempotency_key="swap group:{key}")
def keyed_swap_for_failing_group(self: Any, key: str) -> Any:
    tasks = self.app.tasks
    raise self.replace(group(tasks["fail"].si("a member"), tasks["add"].si(1, 1)))


@task(bind=True, max_retries=3, idempotency_key="retry:{key}")
def keyed_retry(self: Any, key: str, journal: str) -> str:
    note(journal, f"run {self.request.retries}")
    if self.request.retries < 1:
        raise self.retry(exc=ValueError("not yet"), countdown=0.5)
    return key


@task(bind=True)
def spawn_keyed(self: Any, key: str, journal: str) -> str:
    return str(self.app.tasks["keyed"].delay(key, journal).id)


# -- apps that come later


@shared_task(name="shared")
def shared(x: int) -> int:
    return x * 2


@task()
def frozen() -> int:
    """How many objects the process's garbage collector leaves alone."""
    return gc.get_freeze_count()


@task(limits=[Concurrency(2, key="customer:{customer}"), FairShare("{customer}", name="customers")])
def two_at_once(customer: str, journal: str, seconds: float = 0.0) -> None:
    note(journal, f"begin {customer}")
    time.sleep(seconds)
    note(journal, f"end {customer}")


@task(limits=Rate("5/s"))
def five_a_second(journal: str) -> None:
    note(journal, str(time.time()))


@task(limits=Concurrency(1, name="alone"))
def alone(journal: str, gate: str = "") -> None:
    note(journal, f"begin {os.getpid()}")
    if gate:
        wait_until_open(gate)
    note(journal, "end")


@task()
def how_many(results: list[Any]) -> int:
    return len(results)


# -- put off


@task(bind=True, max_retries=1)
def put_off(self: Any, journal: str, gate: str, line: str, seconds: float = 0.2) -> str:
    """Wait for the gate by being put off, again and again."""
    note(journal, f"look {line} {self.request.retries}")
    if not Path(gate).exists():
        raise Snooze(seconds, "the gate is shut")
    return line


@task()
async def put_off_later(journal: str, gate: str, line: str) -> str:
    await asyncio.sleep(0)
    note(journal, f"look {line}")
    if not os.path.exists(gate):  # noqa: PTH110, ASYNC240  # a look, as fast as any
        raise Snooze(0.2)
    return line


@task(durable=False)
def put_off_unmanaged(journal: str, gate: str, line: str) -> str:
    note(journal, f"look {line}")
    if not Path(gate).exists():
        raise Snooze(0.2)
    return line


@task(idempotency_key="{line}")
def put_off_keyed(journal: str, gate: str, line: str) -> str:
    note(journal, f"look {line}")
    if not Path(gate).exists():
        raise Snooze(0.2)
    return line


@task(limits=Concurrency(1, name="one put off"))
def put_off_with_slot(journal: str, gate: str, line: str) -> None:
    note(journal, f"look {line}")
    if gate and not Path(gate).exists():
        raise Snooze(0.5)


@task(bind=True)
def put_off_prepared(self: Any, journal: str, gate: str) -> Any:
    """What is prepared before it is put off is prepared again by the run that counts."""
    if not Path(gate).exists():
        self.retry(throw=False, countdown=0)
        raise Snooze(0.2)
    note(journal, f"ran {self.request.retries}")
    return "done"


@task(bind=True)
def put_off_as_a_retry(self: Any, journal: str, gate: str) -> int:
    note(journal, "look")
    try:
        if not Path(gate).exists():
            raise Snooze(0.2)
    except Exception as error:
        raise self.retry(exc=error, countdown=0) from error
    return int(self.request.retries)


# -- circuits: a gateway that answers while its file is there

GATEWAY = Circuit("gateway", failures=0.5, window=30, minimum=4, open_for=2, on=ConnectionError)
_LINE = Circuit("line", failures=1.0, window=30, minimum=1, open_for=1.5)


def _call(journal: str, up: str, line: str) -> str:
    note(journal, f"call {line} {time.time()}")
    if not Path(up).exists():
        raise ConnectionError("the gateway is down")
    return line


@task(circuits=GATEWAY, retries=Retries(max_retries=20, backoff=0.05, cap=0.05, on=ConnectionError))
def pay(journal: str, up: str, line: str) -> str:
    return _call(journal, up, line)


@task(bind=True, retries=Retries(max_retries=20, backoff=0.05, cap=0.05, on=ConnectionError))
def pay_in_a_block(self: Any, journal: str, up: str, line: str) -> str:
    with self.circuit("gateway"):
        return _call(journal, up, line)


@task(bind=True, retries=Retries(max_retries=20, backoff=0.05, cap=0.05, on=ConnectionError))
async def pay_later(self: Any, journal: str, up: str, line: str) -> str:
    async with self.circuit(GATEWAY):
        await asyncio.sleep(0)
        return _call(journal, up, line)


@task(circuits=_LINE, retries=False)
def on_the_line(journal: str, up: str, line: str) -> str:
    """Dies as a probe, the first time that the file is there to say so."""
    if Path(f"{up}.deadly").exists():
        Path(f"{up}.deadly").unlink()
        note(journal, f"dies {line}")
        os.kill(os.getpid(), signal.SIGKILL)
    return _call(journal, up, line)
