"""Which processes are alive, which belong to a group, and which a test session started."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator

import psutil

#: In the environment of a test session, and so of every program it starts and of all that those start.
MARK = "CELERIAC_TEST_SESSION"
#: Python starts these for itself, and ends them when it ends.
PYTHONS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def alive(process: psutil.Process) -> bool:
    """Whether it runs or is stopped; a zombie has ended."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def group(leader: int) -> list[psutil.Process]:
    """The living processes of a process group, named by the pid of the process that began it."""
    return [process for process in psutil.process_iter() if _group_of(process) == leader and alive(process)]


def _group_of(process: psutil.Process) -> int | None:
    with contextlib.suppress(OSError):
        return os.getpgid(process.pid)
    return None


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that carry `mark`, whoever is their parent by now; not the caller."""
    return [process for process in _others() if _mark_of(process) == mark and alive(process)]


def _others() -> Iterator[psutil.Process]:
    return (process for process in psutil.process_iter() if process.pid != os.getpid())


def _mark_of(process: psutil.Process) -> str | None:
    # Other users' processes do not let their environment be read.
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(MARK)
    return None


def started_by(mark: str, exempt: Iterable[int] = ()) -> list[psutil.Process]:
    """What a session started and is alive: all that carries its mark, and what it forked.

    A fork shows the environment that its parent began with, so it carries no mark.
    """
    forked = [process for process in psutil.Process().children(recursive=True) if alive(process)]
    found = {process.pid: process for process in [*forked, *marked(mark)]}
    return [process for pid, process in found.items() if pid not in exempt and not _pythons_own(process)]


def _pythons_own(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        command = " ".join(process.cmdline())
        return any(module in command for module in PYTHONS_OWN)
    return False


def describe(process: psutil.Process) -> str:
    """Its pid, its command, and the test during which it was started."""
    command, test = "?", "?"
    with contextlib.suppress(psutil.Error, OSError):
        command = " ".join(process.cmdline())
        test = process.environ().get("PYTEST_CURRENT_TEST", "no test")
    return f"pid {process.pid}: {command} (started in {test})"


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill at once, stopped processes too."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
