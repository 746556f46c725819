"""What is published beside a broker that is no store: the way it takes, and what ties it to its ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

from celeriac.core.current import current
from celeriac.core.message import KEY_HEADER, LEDGER_HEADER
from celeriac.core.transactions import open_for
from celeriac.publish.amqp import BrokerUnavailable
from celeriac.settings import first_url
from celeriac.store.protocols import Store


class PublishUnknown(BrokerUnavailable):
    """A broker that is no store did not confirm a publish. It may have the message, and then the task will run."""

    remedy = (
        "Whether the broker has the message is not known, so that sending it again may run the task twice. A task that "
        "declares an idempotency_key, with a ledger, is sent again without that"
    )

    def __str__(self) -> str:
        return f"broker {self.location}: the publish was not confirmed ({self.detail}). {self.remedy}"


@contextmanager
def confirmed_by(broker_url: object) -> Iterator[None]:
    """Raise kombu's error of a publish as ours, which says what is known."""
    try:
        yield
    except BrokerUnavailable:
        raise
    except OperationalError as error:
        raise PublishUnknown(str(maybe_sanitize_url(first_url(broker_url))), str(error)) from error


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


def goes_straight(store: Store, options: dict[str, Any]) -> bool:
    """Whether a task goes to the broker at once, and not by the ledger, from where it is relayed.

    The ledger sends what belongs to somebody's transaction or settlement, what has a key, and every id that may have
    been sent before: only there is it known whether that one is over.
    """
    attempt = current()
    kept = attempt is not None and (attempt.buffering or attempt.retrying)
    keyed = KEY_HEADER in (options.get("headers") or {})
    return not (kept or keyed or options.get("task_id") or open_for(store) is not None)


def stamp_of(store: Store) -> list[str]:
    """Names the ledger in a message."""
    return [store.uuid, store.location]


def stamped(store: Store, options: dict[str, Any]) -> dict[str, Any]:
    """The publish options with the ledger's name in the headers."""
    return {**options, "headers": {**(options.get("headers") or {}), LEDGER_HEADER: stamp_of(store)}}
