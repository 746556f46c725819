"""A real Celery worker, as `celery -A app worker` starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import psutil

from tests.support.processes import alive
from tests.support.program import Program
from tests.support.waiting import wait_for

Pool = Literal["prefork", "threads", "solo", "gevent"]
#: What workers tell each other; a single worker starts faster without.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Worker(Program):
    """A worker for `app` (a module, as `-A` takes it), ready once it consumes.

    Args:
        app: for example `tests.support.tiny`.
        folder: where it runs, and where its log goes.
        queues: what `-Q` takes; none means the default queue.
        env: added to the environment of the tests.
        arguments: more of them, for the `worker` command.
        quiet: without gossip, mingle and heartbeat.
    """

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        pool: Pool = "prefork",
        concurrency: int = 1,
        queues: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        quiet: bool = True,
    ) -> None:
        name = f"worker-{uuid.uuid4().hex[:8]}"
        self.nodename = f"{name}@{socket.gethostname()}"
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", self.nodename, "-l", "INFO"]
        command += ["-P", pool, "-c", str(concurrency)]
        command += ["-Q", ",".join(queues)] if queues else []
        super().__init__([*command, *(QUIET if quiet else ()), *arguments], folder, name=name, env=env)

    def ready(self) -> bool:
        return f"{self.nodename} ready." in self.log_of_this_run()

    def children(self) -> list[int]:
        """The pids of the living pool processes, the oldest first; only prefork has any."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = filter(alive, psutil.Process(self.pid).children())
            return [child.pid for child in sorted(children, key=lambda child: (child.create_time(), child.pid))]
        return []

    def kill_child(self, pid: int | None = None) -> int:
        """SIGKILL to one pool process (the oldest, or the one named); return its pid once it is dead.

        Raises:
            AssertionError: it is none of this worker's.
        """
        children = self.children()
        victim = children[0] if pid is None and children else pid
        assert victim in children, f"{self.name} has no pool process {victim}, only {children}"
        child = psutil.Process(victim)
        os.kill(child.pid, signal.SIGKILL)
        wait_for(lambda: not alive(child), 10, f"pool process {victim} does not die")
        return child.pid
