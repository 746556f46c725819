"""What helps to test: apps on celeriac, and stores and transports of others."""

from celeriac.testing.kit import Kit
from celeriac.testing.problems import KitError, NothingRuns, NotQuiet, TaskFailed
from celeriac.testing.published import PublishedTask
from celeriac.testing.runs import Run

__all__ = ["Kit", "KitError", "NotQuiet", "NothingRuns", "PublishedTask", "Run", "TaskFailed"]
