"""Random histories of the SQLite store, each step compared with a model."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from celeriac.testing.conformance.machine import queue_machine
from tests.conformance.sqlite import SQLiteHarness


class TemporaryHarness(SQLiteHarness):
    """Each history has a file of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        super().__init__(self.folder / "shop.db")

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder)


TestQueue = queue_machine(TemporaryHarness).TestCase
TestQueue.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    # A run that others repeat is always the same; at a desk each finds something new, and prints how to repeat it.
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
