"""Starts `celery` as a fork of a process that has imported it: the same program, sooner."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.waiting import patient

ROOT = Path(__file__).resolve().parents[2]
CELERY = (sys.executable, "-m", "celery")
#: Pools that patch what is imported after them.
PATCHING = ("gevent", "eventlet")
#: What the interpreter and the C library read of the environment as they start.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_")
#: Bytes that an answer has at most.
ANSWER = 1 << 16


def environment() -> dict[str, str]:
    """What every program has: that of the tests, and the repository on its path."""
    path = os.pathsep.join(map(str, (ROOT / "src", ROOT)))
    return os.environ | {"PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}


class Forked:
    """A fork; like a `subprocess.Popen` it keeps its pid until it is asked how it ended."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for the signal that killed it; none while it has not ended."""
        if self._code is None:
            self._code = self._server.ask({"poll": self.pid})["code"]
        return self._code


class ForkServer:
    """The process that forks for this one. It begins when it is first wanted, and ends with this one if not before."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()

    def fits(self, command: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether a fork is the same as `command` started in the environment `env`.

        It is not where a pool patches modules before they are imported, nor where a variable that was read before the fork,
        by the interpreter or by an import, has another value.
        """
        if tuple(command[:3]) != CELERY or any(name in word for word in command[3:] for name in PATCHING):
            return False
        self._begin()
        names = {name for name in self._env.keys() | env.keys() if name.startswith(READ_AT_START)}
        return all(self._env.get(name) == env.get(name) for name in names | self._read)

    def start(self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: IO[bytes]) -> Forked:
        """Fork what `fits`: in a session of its own, with what it prints in `log`."""
        program = {"command": list(command), "folder": str(folder), "env": dict(env)}
        return Forked(self, self.ask(program, log.fileno())["pid"])

    def ask(self, request: Mapping[str, Any], *files: int) -> Any:
        with self._asking:
            socket.send_fds(self._channel, [json.dumps(request).encode()], files)
            return self._answer()

    def _answer(self) -> Any:
        text = self._channel.recv(ANSWER)
        assert text, "the process that forks has ended"
        return json.loads(text)

    def _begin(self) -> None:
        if self._process is not None:
            return
        self._env = environment()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(patient(60))
        command = [sys.executable, "-m", "tests.support.forkserver", str(theirs.fileno()), " " * 512]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env=self._env,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._read = set(self._answer()["read"])

    def close(self) -> None:
        """End it; what it forked goes on."""
        if self._process is not None:
            # A fork of this process may have the channel too.
            self._channel.shutdown(socket.SHUT_RDWR)
            self._channel.close()
            self._process.wait(patient(10))
            self._process = None
