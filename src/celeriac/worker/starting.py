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
