"""Points at which a pool of processes is broken, or watched, between a process and its parent."""

from __future__ import annotations

import array
import fcntl
import functools
import importlib
import os
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
from billiard.pool import READY

from celeriac.errors import StoreUnavailable
from celeriac.publish.forwarding import Forwarder
from celeriac.worker.begun import _Outbox, _plain
from celeriac.worker.hearing import EXIT_LOOK
from celeriac.worker.prefork import Pool
from tests.integration.breaking import STORE
from tests.integration.tasks import UNIT, lines, note

_module, _, _name = STORE.partition(":")
_Store: Any = getattr(importlib.import_module(_module), _name)
#: Bytes of an answer that takes a pipe several times over.
LONG = 1_000_000
#: Bytes that a pipe holds for a reader who does not come.
LEFT = 30_000
#: One claim in so many is refused, so often.
ONE_IN, CUTS = 3, 20
#: Seconds that settling takes where it takes long, and that a process waits for another at most.
SETTLING, LONGEST_WAIT = 0.5, 20.0
#: Seconds that the relay is about to connect.
CONNECTING_TAKES = 0.1


def _watch_pipes(broken: str) -> None:
    """Note each job that a process leaves in its pipe when it ends."""
    leave = Pool.on_partial_read

    @functools.wraps(leave)
    def call(pool: Pool, job: Any, process: Any) -> None:
        if not job._accepted:  # billiard's
            note(broken, "left")
        leave(pool, job, process)

    setattr(Pool, "on_partial_read", call)  # noqa: B010  # a breakage


def _dawdle(_broken: str) -> None:
    """Settling takes long wherever no task waits for it."""
    settle = _Store.settle

    @functools.wraps(settle)
    def call(store: Any, settlements: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(SETTLING)
        return settle(store, settlements)

    setattr(_Store, "settle", call)  # noqa: B010  # a breakage


def _die_together(broken: str) -> None:
    """While a parent reads what a dead process said last, all others die; it has not looked what any of them had begun."""
    read = Pool.process_flush_queues

    @functools.wraps(read)
    def call(pool: Pool, process: Any) -> None:
        if not Path(broken).exists():
            Path(broken).touch()
            others = [other for other in pool._pool if other is not process]  # billiard's
            for other in others:
                os.kill(other.pid, signal.SIGKILL)
            _wait(lambda: not any(other._is_alive() for other in others))  # billiard's
        read(pool, process)

    setattr(Pool, "process_flush_queues", call)  # noqa: B010  # a breakage
    setattr(Pool, "_note_all", lambda *_: False)  # noqa: B010  # a breakage


def _cut(broken: str) -> None:
    """The connection breaks again and again."""
    claim, asked = _Store.claim, 0

    @functools.wraps(claim)
    def call(store: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked % ONE_IN == 0 and asked <= ONE_IN * CUTS:
            note(broken, "cut")
            raise StoreUnavailable(store.location, "claim refused")
        return claim(store, *args, **kwargs)

    setattr(_Store, "claim", call)  # noqa: B010  # a breakage


def _cut_at_ends(broken: str) -> None:
    """The connection breaks when a process is about to end, and when a job that it left in its pipe waits again."""
    wait, leave = Pool._await_exit, Pool.on_partial_read  # a breakage

    def cut() -> None:
        if len(lines(broken)) < CUTS:
            note(broken, "cut")
            raise StoreUnavailable("the store", "out of reach")

    @functools.wraps(wait)
    def await_exit(pool: Pool, process: Any, pause: float) -> None:
        wait(pool, process, pause)
        if pause == EXIT_LOOK and process in pool._pool:  # billiard's
            cut()

    @functools.wraps(leave)
    def on_partial_read(pool: Pool, job: Any, process: Any) -> None:
        waits = not job._accepted  # billiard's
        leave(pool, job, process)
        if waits:
            pool._call_later(0, cut)  # at the loop's next turn

    setattr(Pool, "_await_exit", await_exit)  # noqa: B010  # a breakage
    setattr(Pool, "on_partial_read", on_partial_read)  # noqa: B010  # a breakage


def _connect_at_length(broken: str) -> None:
    """The relay connects for each message anew, and the module that kombu then looks for takes its time to be missed."""

    class Slow(Loader):
        """Missed while it is loaded: a fork waits for the end of a search by itself."""

        @classmethod
        def find_spec(cls, name: str, *_: object) -> ModuleSpec | None:
            if name == "librabbitmq" and threading.current_thread().name == "celeriac-relay":
                return ModuleSpec(name, cls())
            return None

        def exec_module(self, module: ModuleType) -> None:
            note(broken, "connecting")
            time.sleep(CONNECTING_TAKES)
            raise ImportError(name=module.__name__)

    publish = Forwarder.publish

    @functools.wraps(publish)
    def call(broker: Forwarder, delivery: Any) -> None:
        publish(broker, delivery)
        broker.close()

    sys.meta_path.insert(0, Slow)
    setattr(Forwarder, "publish", call)  # noqa: B010  # a breakage


# -- in the middle of an answer


def _break_off(broken: str) -> None:
    """A process dies when its parent has half of its answer."""

    def answer(fd: int, message: bytes) -> None:
        _write(fd, message[: len(message) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    _answer_at_length(broken, answer)


def _break_off_unseen(broken: str) -> None:
    """The same, with more of it in the pipe of a stopped parent, who then hears first that all others are dead."""

    def answer(fd: int, message: bytes) -> None:
        half = message.index(UNIT * 1000) + len(UNIT) * (LONG // 8)
        _write(fd, message[:half])
        _wait_until_heard(fd)
        parent = psutil.Process(os.getppid())
        parent.suspend()
        for other in parent.children():
            if other.pid != os.getpid():
                other.kill()
                _wait(lambda: other.status() == psutil.STATUS_ZOMBIE)  # noqa: B023
        _write(fd, message[half : half + LEFT])
        Path(f"{broken}-stopped").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    _answer_at_length(broken, answer)


def _cut_an_answer(broken: str) -> None:
    """The connection breaks when a parent has half of an answer; the rest comes when there is another."""
    half, cut, again = (Path(f"{broken}-{what}") for what in ("half", "cut", "again"))
    claim, register = _Store.claim, Pool.register_with_event_loop

    def answer(fd: int, message: bytes) -> None:
        _write(fd, message[: len(message) // 2])
        _wait_until_heard(fd)
        half.touch()
        _wait(again.exists)
        _write(fd, message[len(message) // 2 :])

    @functools.wraps(claim)
    def refuse(store: Any, *args: Any, **kwargs: Any) -> Any:
        if half.exists() and not cut.exists():
            cut.touch()
            raise StoreUnavailable(store.location, "claim refused")
        return claim(store, *args, **kwargs)

    @functools.wraps(register)
    def note_again(pool: Pool, hub: Any) -> None:
        register(pool, hub)
        if cut.exists():
            again.touch()

    _answer_at_length(broken, answer)
    setattr(_Store, "claim", refuse)  # noqa: B010  # a breakage
    setattr(Pool, "register_with_event_loop", note_again)  # noqa: B010  # a breakage


def _answer_at_length(broken: str, answer: Callable[[int, bytes], None]) -> None:
    """Have `answer` write the first long answer into the pipe; the file `broken` says that it has happened."""
    put = _Outbox.put

    @functools.wraps(put)
    def call(outbox: _Outbox, message: Any) -> None:
        body = (_plain(message) if message[0] == READY else None) or b""
        if len(body) < LONG or Path(broken).exists():
            put(outbox, message)
            return
        Path(broken).touch()
        answer(outbox._queue._writer.fileno(), struct.pack(">I", len(body)) + body)  # as billiard's

    setattr(_Outbox, "put", call)  # noqa: B010  # a breakage


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _wait_until_heard(fd: int) -> None:
    """Until the parent has taken everything out of this pipe, and waits for more."""
    size = array.array("i", [0])

    def empty() -> bool:
        fcntl.ioctl(fd, termios.FIONREAD, size)
        return size[0] == 0 and psutil.Process(os.getppid()).status() == psutil.STATUS_SLEEPING

    _wait(empty)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_WAIT
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


WATCHING_PIPES, DAWDLING, DYING_TOGETHER = "watching-pipes", "dawdling", "dying-together"
CUT, CUT_AT_ENDS, CONNECTING = "cut", "cut-at-ends", "connecting"
BROKEN_OFF, BROKEN_OFF_UNSEEN, CUT_ANSWER = "broken-off", "broken-off-unseen", "cut-answer"
POINTS: dict[str, Callable[[str], None]] = {
    WATCHING_PIPES: _watch_pipes,
    DAWDLING: _dawdle,
    DYING_TOGETHER: _die_together,
    CUT: _cut,
    CUT_AT_ENDS: _cut_at_ends,
    CONNECTING: _connect_at_length,
    BROKEN_OFF: _break_off,
    BROKEN_OFF_UNSEEN: _break_off_unseen,
    CUT_ANSWER: _cut_an_answer,
}
