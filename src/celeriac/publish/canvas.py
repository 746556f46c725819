"""Celery's canvases on a store of celeriac's: recorded as workflows, the members of groups sent a few hundred at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any

from celery import canvas

from celeriac.core.current import sender, unjoined
from celeriac.core.workflow import OnFailure
from celeriac.errors import CeleriacWarning, PartlySent
from celeriac.publish.batch import joining
from celeriac.publish.workflows import comes_after, new_opening, opening, sending, sending_members
from celeriac.transport.unavailable import publishing

_one_by_one = canvas.group._apply_tasks  # noqa: SLF001  # the one place where a group sends
_CANVASES = canvas._chain, canvas.group, canvas._chord  # noqa: SLF001


@wraps(_one_by_one)
def _together(
    self: Any, tasks: Iterable[Any], producer: Any = None, app: Any = None, *args: Any, **kwargs: Any
) -> Iterator[Any]:
    app = app or self.app
    if not hasattr(app, "batch_of_group"):
        yield from _one_by_one(self, tasks, producer, app, *args, **kwargs)
        return
    # The members may come from a generator that publishes too, which is not the group's.
    members = list(tasks)
    _warn_of_many(len(members), app.own_settings.warn_of_members)
    with sending_members(members, kwargs.get("chord")), unjoined(_of_another_chord(members)):
        results = _sent(self, members, producer, app, *args, **kwargs)
    yield from results


def _of_another_chord(members: list[Any]) -> str | None:
    """The group's id where its members are those of the chord in which it ends a chain: they join that."""
    if not members:
        return None
    first, _, group_id = members[0]
    return None if first.options.get("group_id") in (None, group_id) else str(group_id)


def _sent(self: Any, members: list[Any], producer: Any, app: Any, *args: Any, **kwargs: Any) -> list[Any]:
    batch = app.batch_of_group() if producer is None else None
    if batch is None:
        return list(_one_by_one(self, members, producer, app, *args, **kwargs))
    with joining(batch):
        try:
            # Not one of the broker's: that need not be there, and where it leads would be looked at for each member.
            results: list[Any] = list(_one_by_one(self, members, batch, app, *args, **kwargs))
            with publishing():
                batch.flush()
        except Exception as error:
            sent = batch.certainly_sent()
            if not sent:
                raise
            raise PartlySent(sent, error) from error
        finally:
            batch.abandon()
    return results


def _recorded(applied: Callable[..., Any]) -> Callable[..., Any]:
    """``apply_async`` of a canvas, which is a workflow where nobody else's is being sent or goes on."""

    @wraps(applied)
    def apply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        app = self.app
        # Whether it is to be run at once, which Celery asks next, is not asked here: nothing is sent then, and so recorded.
        if opening() is not None or comes_after() or not getattr(app, "has_ledger", False):
            return applied(self, args, kwargs, **options)
        run_out(self)
        return send_workflow(partial(applied, self, args, kwargs, **options))

    return apply_async


def run_out(signature: Any) -> None:
    """Have the generators of a canvas's members run before it is sent: what these publish themselves is no part of it."""
    if isinstance(signature, canvas._chord):  # noqa: SLF001  # of which `chord` is another name
        run_out(signature.body)
    members = getattr(signature, "tasks", None)
    if isinstance(members, canvas.group):
        run_out(members)
    elif isinstance(members, (list, tuple)):
        for member in members:
            if isinstance(member, _CANVASES):
                run_out(member)


def send_workflow(send: Callable[[], Any], name: str = "", on_failure: OnFailure = "block") -> Any:
    """Send a canvas as a workflow; its result has the ``workflow_id``, None of what is not recorded: of a single task."""
    opened = new_opening(name, on_failure, sender())
    result = sending(opened, send)
    if result is not None:
        result.workflow_id = opened.id if opened.recorded else None
    return result


def _warn_of_many(count: int, most: int) -> None:
    if count > most:
        warnings.warn(
            f"a group of {count:,} members, which is more than celeriac_warn_of_members ({most:,}): Celery makes each of them, and "
            "its result, in memory before the first is sent. app.send_tasks() takes a generator and keeps nothing but ids; where "
            "the results are to be joined, let each member do many (chunks), or raise the setting",
            CeleriacWarning,
            stacklevel=2,
        )


def take_canvases_over() -> None:
    """Put these in Celery's place; other apps' canvases go on as they did."""
    canvas.group._apply_tasks = _together  # noqa: SLF001
    for kind in _CANVASES:
        kind.apply_async = _recorded(kind.apply_async)
