"""A publish to a broker that is no store: confirmed in time, or an error that says what is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import AccessRefused, MessageNacked, NotAllowed, RecoverableConnectionError
from kombu.exceptions import OperationalError

from celeriac.transport.rabbitmq.deadline import DeadlineExceeded
from celeriac.transport.unavailable import BrokerUnavailable

_REFUSED = "it refused the message: the queue is full, or has no leader"


class PublishUnknown(BrokerUnavailable):
    """A broker that is no store did not confirm a publish. It may have the message, and then the task will run."""

    remedy = (
        "Whether the broker has the message is not known: sending it again may run the task twice, unless the task declares "
        "an idempotency_key and the app has a ledger. If this stays, look whether the broker runs and is reached from here"
    )

    def __str__(self) -> str:
        return f"broker {self.location}: the publish was not confirmed ({self.detail}). {self.remedy}"


class BrokerRefused(BrokerUnavailable):
    """RabbitMQ does not let this user in, or not into what the URL names. Nothing was sent."""

    remedy = (
        "Nothing was sent. Look at user, password and virtual host in broker_url, and at what that user may do there: "
        "rabbitmqctl list_vhosts, and list_permissions"
    )

    def __str__(self) -> str:
        return f"broker {self.location}: it refused access ({self.detail}). {self.remedy}"


@contextmanager
def confirmed_by(location: str, *, under_way: bool = False) -> Iterator[None]:
    """Publish to the broker at ``location`` (a URL without password); what is ``under_way`` it may have already.

    Raises:
        PublishUnknown: it could not be reached, refused the message, or has not confirmed it in time.
        BrokerRefused: it refused user or virtual host.
    """
    try:
        yield
    except BrokerUnavailable:
        raise
    except (DeadlineExceeded, OperationalError) as error:
        raise PublishUnknown(location, _REFUSED if _comes_of(error, MessageNacked) else str(error)) from error
    except (AccessRefused, NotAllowed) as error:
        # It may have been sent before, on a connection that was lost.
        unknown = under_way or _comes_of(error, RecoverableConnectionError, OSError)
        raise (PublishUnknown if unknown else BrokerRefused)(location, str(error)) from error


def _comes_of(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kinds):
        error = error.__context__
    return error is not None


def given_up_after(options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The publish options with a retry policy that ends: half of the time is kept for a wait that has begun."""
    policy = options.get("retry_policy") or {}
    told, until = policy.get("errback"), time.monotonic() + seconds / 2

    def errback(error: Exception, interval: float) -> None:
        if told is not None:
            told(error, interval)
        if time.monotonic() >= until:
            raise error

    return {**options, "retry_policy": {**policy, "errback": errback}}
