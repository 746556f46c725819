"""``redis+streams://host:6379/0`` as a broker URL."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import kombu
from kombu.transport import TRANSPORT_ALIASES

from celeriac.settings import is_redis_store, redis_store_url
from celeriac.store.protocols import Store
from celeriac.store.registry import open_redis
from celeriac.transport.base import StoreTransport
from celeriac.transport.sqlite import broker_url

#: kombu and Celery take what is before a + for the transport or backend, so they are given these.
SCHEMES = ("redis-streams", "rediss-streams")


class RedisTransport(StoreTransport):
    """A broker in one Redis."""

    def open_store(self) -> Store:
        return open_redis(broker_url(self.client))

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, without its password."""
        return plussed(uri) if include_password else redis_store_url(uri).shown


def hyphened(url: Any) -> Any:
    """The URL as kombu can be given it; whatever else it is stays as it is."""
    return url.replace("+", "-", 1) if is_redis_store(url) else url


def plussed(url: str) -> str:
    """The URL as people write it."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.replace('-', '+', 1)}{colon}{rest}"


def register() -> None:
    """Make the schemes known to kombu, and its connections take ``redis+streams://`` for one of them.

    Otherwise they would publish into whatever Redis runs on this host.
    """
    for scheme in SCHEMES:
        TRANSPORT_ALIASES[scheme] = "celeriac.transport.redis:RedisTransport"
    begin = kombu.Connection.__init__
    if getattr(begin, "__wrapped__", None) is None:
        kombu.Connection.__init__ = _leading_here(begin)


def _leading_here(begin: Callable[..., None]) -> Callable[..., None]:
    @wraps(begin)
    def __init__(self: Any, hostname: Any = "localhost", *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it is one
        begin(self, hyphened(hostname), *args, **kwargs)

    return __init__
