"""A process beside a test session that kills whatever the session started, once the session is gone.

Even a session that was killed itself leaves nothing behind: the guardian sees its end of the pipe close, or its parent change.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.support.processes import kill, marked

ROOT = Path(__file__).resolve().parents[2]


def start(mark: str) -> subprocess.Popen[bytes]:
    """Start one for the calling process; it ends when its stdin is closed."""
    command = [sys.executable, "-m", "tests.support.guardian", mark, str(os.getpid())]
    # A session of its own, so that no Ctrl-C and no kill of a group ends it first.
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)


def guard(mark: str, parent: int) -> None:
    # A fork of the session may hold the pipe open, so the parent is asked too.
    while os.getppid() == parent and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    # What is killed may have been about to start another.
    while left := marked(mark):
        kill(left)
        time.sleep(0.02)


if __name__ == "__main__":
    guard(sys.argv[1], int(sys.argv[2]))
