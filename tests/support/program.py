"""A program under test: a process group of its own, its output in a file, signals for what may befall it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, ClassVar, Protocol, cast

import psutil

from tests.support.forking import ForkServer, environment
from tests.support.processes import group
from tests.support.waiting import TimedOut, wait_for

if TYPE_CHECKING:
    from typing_extensions import Self


class Process(Protocol):
    """A `subprocess.Popen`, or a fork."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


class Program:
    """A command, run in `folder` with the repository on its path.

    In a test session `python -m celery …` is a fork of a process that has imported Celery, where that is the same
    (`tests.support.forking`). Every other program is started, and so is all that runs outside of one, to be measured.
    Leaving the `with` block (or `close`) kills the whole group, also what it started and what is stopped.
    """

    #: Who forks what may be forked.
    forks: ClassVar[ForkServer | None] = None

    def __init__(
        self, command: Sequence[str], folder: Path, *, name: str = "program", env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.folder = folder
        self.name = name
        self.env = dict(env or {})
        self.log_path = folder / f"{name}.log"
        self._process: Process | None = None
        self._gone = False
        self._log_before = 0

    def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            TimedOut: it did not become ready.
            AssertionError: it ended instead; the text has its log.
        """
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start it, perhaps once more after its end, and wait for nothing."""
        assert not self.processes(), f"{self.name} has not ended"
        self._gone = False
        self._log_before = len(self.log())
        env = environment() | self.env
        with self.log_path.open("ab") as log:
            if self.forks is not None and self.forks.fits(self.command, env):
                self._process = self.forks.start(self.command, self.folder, env, log)
            else:
                self._process = self._open(env, log)

    def _open(self, env: Mapping[str, str], log: IO[bytes]) -> Process:
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=env,
            start_new_session=True,
        )

    def wait_ready(self, timeout: float = 60.0) -> None:
        wait_for(self._ready_or_ended, timeout, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def ready(self) -> bool:
        """Whether it does its work; the usual program does from the start."""
        return self.running

    def _ready_or_ended(self) -> bool:
        code = self._started().poll()
        assert code is None, f"{self.name} ended with {code} before it was ready:\n{self.tail()}"
        return self.ready()

    # -- looking

    @property
    def pid(self) -> int:
        """The pid of the program, which is also its group's."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the program itself runs (its children may live longer)."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """The living processes of the group, the program's own among them."""
        return [] if self._gone or self._process is None else group(self._process.pid)

    def log(self) -> str:
        """What all its runs have written."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_of_this_run(self) -> str:
        return self.log()[self._log_before :]

    def tail(self, lines: int = 200) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    # -- what may befall it

    def kill(self) -> None:
        """SIGKILL to the whole group, as when a machine dies; return when all of it is dead."""
        self._started()
        self.close()

    def kill_parent(self) -> None:
        """SIGKILL to the program alone, as the kernel does when memory runs out; its children are left as they are."""
        os.kill(self.pid, signal.SIGKILL)
        self._reap_parent()

    def terminate(self, timeout: float = 60.0) -> int:
        """SIGTERM to the program, and its exit code once it has ended; negative for the signal that killed it.

        Raises:
            TimedOut: it still runs after `timeout` seconds.
        """
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the program's end; return its exit code.

        Raises:
            TimedOut: it still runs after `timeout` seconds.
        """
        process = self._started()
        wait_for(lambda: process.poll() is not None, timeout, lambda: f"{self.name} does not end:\n{self.tail()}")
        return cast("int", process.poll())

    def stop(self) -> None:
        """SIGSTOP to the whole group, as when a virtual machine is paused: it holds what it holds and does nothing."""
        self._signal_group(signal.SIGSTOP)
        wait_for(self._stands_still, 30, lambda: f"{self.name} does not stand still: {self.processes()}")

    def _stands_still(self) -> bool:
        """A signal has reached who was sent it, and not yet done its work on every thread, when the call returns."""
        return all(process.status() == psutil.STATUS_STOPPED for process in self.processes())

    def abort(self) -> None:
        """SIGABRT to the whole group: each process writes into the log where its threads stand, and dies."""
        self._signal_group(signal.SIGABRT)
        with contextlib.suppress(TimedOut):
            wait_for(lambda: not self.processes(), 10, f"{self.name} survives an abort")
        self.close()

    def cont(self) -> None:
        """SIGCONT to the whole group."""
        self._signal_group(signal.SIGCONT)

    # -- the end

    def close(self) -> None:
        """Kill what is left of the group. Does nothing to what has ended, or was never started."""
        if self._process is None or self._gone:
            return
        wait_for(self._killed, 10, lambda: f"{self.name} cannot be killed: {self.processes()}")
        self._reap_parent()
        self._gone = True  # from here on its pid may be another's

    def _killed(self) -> bool:
        self._signal_group(signal.SIGKILL)
        return not self.processes()

    def _reap_parent(self) -> None:
        wait_for(lambda: not self.running, 10, f"{self.name} does not die")

    def _signal_group(self, number: signal.Signals) -> None:
        leader = self.pid
        if not self._gone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, number)

    def _started(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def run(command: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program to its end; its exit code, and all that it wrote to either output."""
    with contextlib.closing(Program(command, folder, name="run", env=env)) as program:
        program.spawn()
        return program.wait(), program.log_of_this_run()
