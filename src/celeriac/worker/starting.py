"""How a program of a command line begins: it waits for a store that may come, and says in one line what is no use."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kombu.utils.functional import fxrange

from celeriac.errors import CeleriacError, StoreUnavailable
from celeriac.publish.plan import beyond_the_broker
from celeriac.settings import copies_come_for, first_url, on_one_host_only, shown_url

logger = logging.getLogger(__name__)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """On a command line the text says what to do, and a traceback nothing more; in a program the error is raised.

    Raises:
        click.ClickException: in the place of one of celeriac's own errors, within a command.
    """
    try:
        yield
    except CeleriacError as error:
        if click.get_current_context(silent=True) is None:
            raise
        raise click.ClickException(str(error)) from error


def tell_of_the_ledger(app: Any) -> None:
    """What people should know of where ends are kept, once, as the worker starts."""
    broker, ledger = app.conf.broker_url, app.ledger_beside
    if not app.has_ledger:
        say = logger.warning if app.defaults == "safe" else logger.info
        say(
            "no ledger keeps dead letters and idempotency keys beside %s; name one with ledger=, such as postgresql://…",
            shown_url(first_url(broker)),
        )
    elif ledger is not None:
        _tell_of_another_host(app, ledger, broker)
        _tell_of_what_is_forgotten(app)


def tell_of_the_queues(app: Any) -> None:
    """What queues declare that this broker cannot do, once, as the worker starts."""
    for problem in beyond_the_broker(app):
        logger.warning("%s", problem)


def _tell_of_another_host(app: Any, ledger: str, broker: object) -> None:
    if on_one_host_only(ledger, broker):
        logger.warning(
            "the ledger is a file of this host, %s, and the broker is elsewhere, %s: a worker on another host has another "
            "ledger, and refuses what was sent here. Name a PostgreSQL ledger, or keep all workers on this host",
            app.store.location,
            shown_url(first_url(broker)),
        )


def _tell_of_what_is_forgotten(app: Any) -> None:
    expires = app.backend.expires
    kept = expires.total_seconds() if hasattr(expires, "total_seconds") else expires
    if kept and kept < copies_come_for(app.conf):
        logger.warning(
            "result_expires is %.0f s, and the broker may deliver a message once more for %.0f s (twice its "
            "visibility_timeout): ends are remembered that long instead, so that no copy runs again",
            kept,
            copies_come_for(app.conf),
        )


def await_store(app: Any) -> None:
    """Open it; one that may come later, as a folder not yet mounted, is waited for as Celery waits for a broker.

    Raises:
        StoreError: it will not come by waiting, or `broker_connection_retry_on_startup` is off.
    """
    for pause in fxrange(2.0, 32.0, 2.0, repeatlast=True):
        try:
            app.store  # noqa: B018  the first access opens it
        except StoreUnavailable as error:
            if not app.conf.broker_connection_retry_on_startup:
                raise
            logger.error("%s. Trying again in %.0f seconds", error, pause)  # noqa: TRY400  the text says it all
            time.sleep(pause)
        else:
            return
