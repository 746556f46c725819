"""A process that has imported all that `celery` imports before the app, and forks: a second of work less for each worker.

`tests.support.forking` starts one and speaks to it. It forks a program, or tells how one has ended; nothing runs in between.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What `celery` imports before it looks for the app, and what the app of most tests imports. Not what is imported where it
#: is needed first: there are tests of that moment.
MODULES = ("celery.bin.celery", "pydantic.main")
#: Bytes that a request has at most; most of it is the environment.
REQUEST = 1 << 17
#: What `/proc` tells of a fork's environment: which session is it, and which test.
SHOWN = ("CELERIAC_TEST_SESSION", "PYTEST_CURRENT_TEST")


@contextlib.contextmanager
def noted() -> Iterator[Counter[str]]:
    """How often each environment variable is asked for by its name within the block."""
    kind: Any = type(os.environ)
    plain_get, plain_iter = kind.__getitem__, kind.__iter__
    names = Counter[str]()

    def get(environ: Any, name: str) -> Any:
        names[name] += 1
        return plain_get(environ, name)

    def each(environ: Any) -> Iterator[str]:
        for name in plain_iter(environ):
            names[name] -= 1  # whoever lists them all asks for it next, and not because of its name
            yield name

    kind.__getitem__, kind.__iter__ = get, each
    try:
        yield names
    finally:
        kind.__getitem__, kind.__iter__ = plain_get, plain_iter


def preload() -> set[str]:
    """Import the modules; return which environment variables they have asked for."""
    with noted() as names:
        for module in MODULES:
            importlib.import_module(module)
    assert threading.active_count() == 1, threading.enumerate()
    return {name for name, count in names.items() if count > 0}


def serve(channel: socket.socket) -> list[str]:
    """Answer until the other end closes; in a fork, return the command that it is to be."""
    while True:
        text, files, _, _ = socket.recv_fds(channel, REQUEST, 1)
        if not text:
            return []
        request = json.loads(text)
        if "poll" in request:
            answer(channel, code=exit_code(request["poll"]))
        elif os.fork():
            os.close(files[0])
        else:
            become(request, files[0])
            answer(channel, pid=os.getpid())
            return list(request["command"])


def answer(channel: socket.socket, **facts: Any) -> None:
    channel.send(json.dumps(facts).encode())


def exit_code(pid: int) -> int | None:
    """Negative for the signal that killed it; none while it has not ended."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def become(program: dict[str, Any], log: int) -> None:
    """Take over the program's session, folder, environment, output and looks."""
    os.setsid()
    os.chdir(program["folder"])
    sys.path[0] = program["folder"]  # where `-m` puts the current one
    os.environ.clear()
    os.environ.update(program["env"])
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    shown = [f"{name}={os.environ[name]}" for name in SHOWN if name in os.environ]
    show(program["command"], shown)


def show(*strings: list[str]) -> None:
    """Write a command and an environment where `ps` and `/proc` read them, which for a fork is what its parent began with.

    Nothing else reads there any more: the environment was set anew.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    places = [int(field) for field in fields[45:49]]
    with contextlib.suppress(OSError), Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        for words, start, end in zip(strings, places[::2], places[1::2], strict=True):
            text = "".join(f"{word}\0" for word in words).encode()[: end - start - 1]
            memory.seek(start)
            memory.write(text.ljust(end - start, b"\0"))


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        answer(channel, read=sorted(preload()))
        gc.collect()
        gc.freeze()  # the fork's collections copy no page of what was there before
        command = serve(channel)
    if command:
        sys.argv[1:] = command[3:]
        runpy.run_module("celery", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
