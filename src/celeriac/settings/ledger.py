"""The ledger beside a broker that keeps none: which it is, and whether it can be meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from celeriac.errors import SettingsError
from celeriac.settings.brokers import SERVED, capabilities_of, check_scheme, first_url
from celeriac.settings.own import PREFIX, read_one
from celeriac.settings.urls import (
    absolute_url,
    is_postgres,
    is_redis_store,
    is_sqlite,
    postgres_url,
    redis_store_url,
    shown_url,
    sqlite_url,
)

SETTING = PREFIX + "ledger"
#: Seconds after which kombu's Redis transport takes a message for lost, and delivers it again, where nobody says otherwise.
VISIBILITY_TIMEOUT = 3600.0
_HERE = frozenset({"localhost", "127.0.0.1", "::1", ""})


def ledger_beside(conf: Mapping[str, Any], broker_url: object) -> str | None:
    """The URL of the ledger beside a broker that is no store; None where there is none, or the broker is it.

    Raises:
        SettingsError: it names no store of celeriac's, or another one than the broker.
    """
    url = read_one("ledger", conf)
    if url is None:
        return None
    _check(url)
    broker = capabilities_of(broker_url)
    if not broker.ours:
        return str(url)
    if absolute_url(url) != absolute_url(broker.url):
        raise SettingsError(
            SETTING,
            f"{shown_url(url)} is another store than the broker, {shown_url(broker.url)}, which keeps the "
            "ledger itself: one transaction takes a message and records its end. Leave it out",
        )
    return None


def _check(url: str) -> None:
    check_scheme(url, SETTING)
    if is_sqlite(url):
        sqlite_url(url, setting=SETTING)
    elif is_postgres(url):
        postgres_url(url, setting=SETTING)
    elif is_redis_store(url):
        redis_store_url(url, setting=SETTING)
    elif capabilities_of(url).scheme not in SERVED:
        raise SettingsError(
            SETTING,
            f"{shown_url(url)!r} names no store of celeriac's. There are: {', '.join(sorted(SERVED))}",
        )


def on_one_host_only(ledger: str, broker_url: object) -> bool:
    """Whether the ledger is a file, and the broker can be reached from hosts that have another one."""
    return is_sqlite(ledger) and urlsplit(first_url(broker_url)).hostname not in _HERE | {None}


def copies_come_for(conf: Mapping[str, Any]) -> float:
    """Seconds after which a broker that is no store delivers no second copy of a message any more."""
    options = conf["broker_transport_options"] or {}
    return 2 * float(options.get("visibility_timeout") or VISIBILITY_TIMEOUT)
