"""The smallest app: stock Celery on files, to try these helpers on. Its broker is a folder named in the environment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

FOLDER = Path(os.environ.get("TINY_FOLDER", "."))
app = Celery("tiny", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
}
app.conf.broker_connection_retry_on_startup = True


@app.task
def note(name: str) -> None:
    """Write the pid of the process that runs this to a file."""
    (FOLDER / name).write_text(str(os.getpid()))


@app.task
def linger(name: str) -> None:
    """The same, and then do not end until a file `release` appears."""
    note(name)
    while not (FOLDER / "release").exists():
        time.sleep(0.02)
