"""What a pool's process is doing, where its parent sees it without being told.

Celery's processes send a message when they begin a job, and another when they have ended it. For a short job the
first costs about as much as the body: a system call and a wake-up on either side. Here a process writes the job's
number into memory that it shares with its parent, who looks when it wants to know.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import struct
from collections.abc import Callable
from typing import Any

from billiard.pool import ACK, EX_OK, READY, SIG_SOFT_TIMEOUT
from celery.concurrency.asynpool import Worker as CeleryWorker

from celeriac.execution.limits import soft_limit_passed
from celeriac.worker.ahead import LARGEST_READ, keeps_apart

_JOB, _TIME = struct.Struct("q"), struct.Struct("d")
#: The length before each message in a pipe.
_SIZE = struct.Struct(">I")
_NONE = -1


class Begun:
    """The job that one process began last, and when."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        _JOB.pack_into(self._memory, 0, _NONE)

    def say(self, job: int, moment: float) -> None:
        """In the process: it begins this job; `moment` is on the machine's monotonic clock, in seconds."""
        _TIME.pack_into(self._memory, _JOB.size, moment)
        _JOB.pack_into(self._memory, 0, job)

    @property
    def job(self) -> int:
        """The job's number; negative before the first."""
        return int(_JOB.unpack_from(self._memory, 0)[0])

    @property
    def moment(self) -> float:
        """When it began; it may be an instant older than `job` while the process writes."""
        return float(_TIME.unpack_from(self._memory, _JOB.size)[0])


class _Outbox:
    """A process's pipe to its parent, on which no beginnings travel."""

    def __init__(self, queue: Any, begun: Begun) -> None:
        self._queue = queue
        self._begun = begun

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def put(self, message: tuple[int, Any]) -> None:
        kind, facts = message
        if kind == ACK:
            self._begun.say(facts[0], facts[2])
        elif kind == READY and (payload := _plain(message)) is not None:
            self._queue.send_payload(payload)
        else:
            self._queue.put(message)


def _plain(message: tuple[int, Any]) -> bytes | None:
    """An ended job as plain pickle has it, at a third of the cost of billiard's, which knows more types."""
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # whatever a type raises that cannot be pickled, billiard's turn is next
        return None


class Worker(CeleryWorker):  # type: ignore[misc]  # Celery has no types
    """A pool's process that shows what it began."""

    outq: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.begun = Begun()
        super().__init__(*args, **kwargs)

    def after_fork(self) -> None:
        super().after_fork()
        if SIG_SOFT_TIMEOUT is not None:
            signal.signal(SIG_SOFT_TIMEOUT, soft_limit_passed)

    def contribute_to_object(self, obj: Any) -> Any:
        obj.begun = self.begun
        return super().contribute_to_object(obj)

    def on_loop_start(self, pid: int) -> None:
        super().on_loop_start(pid)
        self.outq = _Outbox(self.outq, self.begun)

    def _do_exit(self, pid: int, exitcode: int | None, exc: Exception | None = None) -> None:
        """billiard tells the parent, and gives it a second to end this process; one that was told to go is waited for."""
        if exitcode is not None or exc is not None:
            super()._do_exit(pid, exitcode, exc)
        try:
            if self.on_exit is not None:
                self.on_exit(pid, EX_OK)
        finally:
            os._exit(EX_OK)

    def _make_recv_method(self, conn: Any) -> Callable[[float], tuple[bool, Any]]:
        """As billiard's for a pipe of its own, which goes through five calls for each of two reads."""
        fd = conn._reader.fileno()  # noqa: SLF001  # billiard's queue has no other way to it
        read = _read_packets if keeps_apart(conn) else _read_bytes
        return lambda _timeout: (True, pickle.loads(read(fd)))  # noqa: S301  # its parent wrote it


def _read_packets(fd: int) -> bytes | memoryview:
    """One message. A read ends with the packet, so nothing of the next is taken: that may be another process's yet."""
    packet = os.read(fd, LARGEST_READ)
    size = _SIZE.unpack_from(packet)[0] if packet else 0
    if 0 < size == len(packet) - _SIZE.size:
        return memoryview(packet)[_SIZE.size :]
    whole = bytearray(packet)
    while packet and len(whole) < size + _SIZE.size:
        packet = os.read(fd, LARGEST_READ)
        whole += packet
    if not packet:
        raise EOFError
    return memoryview(whole)[_SIZE.size :]


def _read_bytes(fd: int) -> bytes:
    """One message from a pipe that does not keep messages apart."""
    return _exactly(fd, _SIZE.unpack(_exactly(fd, _SIZE.size))[0])


def _exactly(fd: int, size: int) -> bytes:
    whole = bytearray()
    while len(whole) < size:
        data = os.read(fd, size - len(whole))
        if not data:
            raise EOFError
        whole += data
    return bytes(whole)
