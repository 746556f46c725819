"""The demo's processes: all on loopback, all gone when the demo is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One program in a process group of its own, its output in a file."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.command = command
        self._folder, self._env = folder, env
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; again after a kill."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                # -I -S: the first program needs nothing but the standard library.
                [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.command],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def signal(self, number: int) -> None:
        """To the whole group: parent and children."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._running is not None:
            self._running.wait()

    def stop(self, patience: float) -> None:
        """Ask it to end, for ``patience`` seconds; then make it."""
        if self._running is not None and self.alive:
            # The parent alone: it tells its children itself.
            with contextlib.suppress(ProcessLookupError):
                self._running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(patience)
        self.kill()

    def tail(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def wait_until(ready: Callable[[], bool], process: Process, seconds: float = 90.0) -> None:
    """Wait until ``ready()``; raise RuntimeError with the end of the log when it takes too long or dies."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive or time.monotonic() > deadline:
            raise RuntimeError(f"{process.name} did not start:\n{process.tail()}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether an HTTP server is there."""
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310  # a loopback URL of our own
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether something takes connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
