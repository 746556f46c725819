"""Celery's groups, and so chords, chunks and maps, send their members a few hundred at a time on a store of celeriac's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import wraps
from typing import Any

from celery import canvas

from celeriac.errors import PartlySent
from celeriac.publish.amqp import publishing
from celeriac.publish.batch import joining

_one_by_one = canvas.group._apply_tasks  # noqa: SLF001  # the one place where a group sends


@wraps(_one_by_one)
def _together(
    self: Any, tasks: Iterable[Any], producer: Any = None, app: Any = None, *args: Any, **kwargs: Any
) -> Iterator[Any]:
    app = app or self.app
    batch = app.batch_of_group() if producer is None and hasattr(app, "batch_of_group") else None
    if batch is None:
        yield from _one_by_one(self, tasks, producer, app, *args, **kwargs)
        return
    # The members may come from a generator that publishes too, which is not the group's.
    members = list(tasks)
    with joining(batch):
        try:
            # Not one of the broker's: that need not be there, and where it leads would be looked at for each member.
            results = list(_one_by_one(self, members, batch, app, *args, **kwargs))
            with publishing():
                batch.flush()
        except Exception as error:
            sent = batch.certainly_sent()
            if not sent:
                raise
            raise PartlySent(sent, error) from error
        finally:
            batch.abandon()
    yield from results


def send_groups_together() -> None:
    """Put it in Celery's place; other apps' groups go on as they did."""
    canvas.group._apply_tasks = _together  # noqa: SLF001
