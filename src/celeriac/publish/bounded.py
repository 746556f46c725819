"""The time that publishing to RabbitMQ may take, and the error at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amqp.exceptions import MessageNacked
from kombu.exceptions import OperationalError

from celeriac.publish.amqp import BrokerUnavailable
from celeriac.publish.beside import PublishUnknown
from celeriac.transport.rabbitmq.deadline import DeadlineExceeded, within

#: What kombu does between two waits takes time too.
_SHARE = 0.9
_REFUSED = "it refused the message: the queue is full, or has no leader"


@contextmanager
def bounded(location: str, seconds: float) -> Iterator[None]:
    """Publish to the broker at ``location`` (a URL without password) within ``seconds``.

    Raises:
        PublishUnknown: it could not be reached, refused the message, or has not confirmed it.
    """
    try:
        with within(seconds * _SHARE):
            yield
    except BrokerUnavailable:
        raise
    except (DeadlineExceeded, OperationalError) as error:
        raise PublishUnknown(location, _REFUSED if _refused(error) else str(error)) from error


def _refused(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MessageNacked):
        error = error.__context__
    return error is not None
