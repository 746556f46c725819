"""What the kit says where a test cannot go on."""

from __future__ import annotations

from celery.exceptions import TimeoutError as CeleryTimeoutError

from celeriac.errors import CeleriacError


class KitError(CeleriacError):
    """The kit is used in a way that cannot work; the text says what to do instead."""


class NothingRuns(KitError, CeleryTimeoutError):  # type: ignore[misc]  # Celery has no types
    """A result is waited for, and nothing that is due would bring it; Celery's ``TimeoutError``, without the wait."""


class NotQuiet(KitError):
    """More runs than a test will have meant, and still something is due."""


class TaskFailed(KitError):
    """A task failed for good in ``drain(raising=True)``; what it raised is the cause."""
