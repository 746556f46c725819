"""Servers as processes of this machine: started on a free loopback port, ended by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tools.services.service import PATIENCE, Running, Service, Unavailable, answers_in_time

#: Another process may take a free port before the server does; then the next one is tried.
TRIES = 3
#: By pid. Kept, since a Popen that is collected warns that its process still runs; here that is the purpose.
_spawned: dict[int, subprocess.Popen[bytes]] = {}


def start(service: Service, program: str, folder: Path) -> Running:
    for _ in range(TRIES):
        running = _attempt(service, program, folder)
        if running is not None:
            return running
    raise Unavailable(f"{program} did not come up; its output is in {folder / 'log'}")


def _attempt(service: Service, program: str, folder: Path) -> Running | None:
    port = _free_port()
    process = _spawn(service.command(program, port, folder), folder)
    url = service.url("127.0.0.1", port)
    running = Running(url, program, process.pid, _began(process.pid), ends_with=service.ends_with)

    def ended() -> bool:
        return process.poll() is not None

    if answers_in_time(service, url, ended) and not ended():
        return running
    stop(running)
    return None


def stop(running: Running) -> bool:
    """End the process if it is still the one that was started; tell whether it was."""
    if running.pid is None:
        return False
    was_there = running.began is not None and _began(running.pid) == running.began
    if was_there:
        _end(running.pid, running.began, signal.Signals[running.ends_with])
    child = _spawned.pop(running.pid, None)
    if child is not None:
        child.wait()
    return was_there


def _end(pid: int, began: str | None, ask: signal.Signals) -> None:
    """Ask it to end, and after `PATIENCE` seconds make it."""
    os.kill(pid, ask)
    end = time.monotonic() + PATIENCE
    while _began(pid) == began:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        # A session of its own: it must outlive this program and a Ctrl-C meant for the tests.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
    _spawned[process.pid] = process
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _began(pid: int) -> str | None:
    """When process `pid` began, or None if there is none (one that has ended and waits for its parent counts as none)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # The command, in brackets, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return None
    # Without a /proc (macOS).
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None
