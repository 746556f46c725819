"""A worker within somebody's program, as tests start one: it ends, and the program goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from celery.contrib.testing.worker import start_worker
from celeriac import Celery

app = Celery("embedded", broker=f"sqlite:///{sys.argv[1]}", celeriac_shutdown_grace_seconds=0.2)

@app.task
def one():
    return 1

with start_worker(app, perform_ping_check=False, pool=sys.argv[2]):
    assert one.delay().get(timeout=30) == 1
time.sleep(1)
print("goes on")
"""


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_the_program_goes_on(tmp_path: Path, pool: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "embedded.db"), pool],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (0, ["goes on"]), ended.stderr
