"""What a broker of celeriac's raises when it is away: the error that code for other brokers catches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kombu.exceptions import OperationalError

from celeriac.errors import StoreUnavailable

#: What to do when a publish has raised, besides mending the store.
_UNKNOWN = (
    "Whether the task was sent is not known where the answer was lost; sending it again is safe under an idempotency key, "
    "or with a task_id of its own."
)


class BrokerUnavailable(StoreUnavailable, OperationalError):  # type: ignore[misc]  # kombu's class is untyped
    """Nothing can be published now. Also the error that code for other brokers catches: kombu's `OperationalError`."""

    remedy = f"{_UNKNOWN} {StoreUnavailable.remedy}"


@contextmanager
def publishing() -> Iterator[None]:
    """Raise what a store that cannot be written, or opened, says as the error of a broker."""
    try:
        yield
    except BrokerUnavailable:
        raise
    except StoreUnavailable as error:
        raised = BrokerUnavailable(error.location, error.detail)
        raised.remedy = f"{_UNKNOWN} {error.remedy}"
        raise raised from error
