"""``app.send_tasks()``: any number of signatures, a few hundred in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, overload

from celery.canvas import Signature, maybe_signature
from celery.exceptions import NotRegistered

from celeriac.errors import CeleriacError, PartlySent
from celeriac.publish.arguments import check_arguments
from celeriac.publish.batch import Batch, joining
from celeriac.publish.confirms import Confirms
from celeriac.publish.mould import Mould, plainly_applied
from celeriac.transport.unavailable import publishing

#: Options that an `apply_async` without any gives to `send_task`.
_NOTHING = {"link": None, "link_error": None, "shadow": None}

#: Slices of which it is remembered where they ended: more than can be under way.
_KEPT = 4


class SentTasks(Sequence[Any]):
    """The results of what was sent, in the order of the signatures.

    A result is made when it is asked for: of a million tasks their ids are kept, and no more.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._makers: list[Callable[[Any], Any]] = []

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return self._makers[place](self._kept[place])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,}>"

    def add(self, kept: Any, maker: Callable[[Any], Any]) -> None:
        """One more: what is kept of it, and what makes its result of that."""
        self._kept.append(kept)
        self._makers.append(maker)


class Sender:
    """Sends signatures of one app whose broker is a store of celeriac's."""

    def __init__(self, app: Any, batch: Batch) -> None:
        self._app = app
        self._batch = batch
        self._ways: dict[object, _Way | None] = {}
        self._parent = app.current_worker_task
        self.sent = SentTasks()
        #: By how many slices were sent, how many signatures had been by then; of the last few.
        self._reached: dict[int, int] = {}
        batch.after_slice = self._count

    def _count(self) -> None:
        """A slice was sent: all signatures before the one that is sent now went with it, and perhaps members of that."""
        self._reached[self._batch.slices] = len(self.sent)
        if len(self._reached) > _KEPT:
            del self._reached[next(iter(self._reached))]

    def send(self, signatures: Iterable[Any]) -> SentTasks:
        """As ``app.send_tasks``."""
        try:
            with publishing():
                self._send_all(signatures)
        except Exception as error:
            certain = self._certain()
            if certain is None:
                raise
            raise PartlySent(certain, error) from error
        finally:
            self._batch.abandon()
        return self.sent

    def _send_all(self, signatures: Iterable[Any]) -> None:
        for signature in signatures:
            self._send(signature)
            if self._batch.empty:
                self._ways.clear()
                self._count()
        self._batch.flush()

    def _certain(self) -> int | None:
        """How many signatures, from the first on, were certainly sent; None as long as nothing was."""
        with suppress(CeleriacError):  # another's fault is no reason not to listen
            self._batch.catch_up()
        return max((count for slices, count in self._reached.items() if slices <= self._batch.answered), default=None)

    def _send(self, signature: Any) -> None:
        if type(signature) is Signature and self._send_short(signature):
            return
        signature = maybe_signature(signature, app=self._app)
        with joining(self._batch):
            result = signature.apply_async()
        self.sent.add(result, self._result)

    def _result(self, result: Any) -> Any:
        holder = self._batch.holders.get(getattr(result, "id", None) or "")
        return result if holder is None else self._app.AsyncResult(holder)

    def _send_short(self, signature: Signature) -> bool:
        way = self._way(signature)
        return way is not None and way.send(self._batch, self.sent, self._parent, signature)

    def _way(self, signature: Signature) -> _Way | None:
        # The attributes of a signature cost several times its items.
        name, options = signature["task"], signature["options"]
        try:
            key = (name, frozenset(options.items() - _ids(options))) if options else name
            if key not in self._ways:
                self._ways[key] = self._short_way(signature)
        except TypeError:
            return None
        return self._ways[key]

    def _short_way(self, signature: Signature) -> _Way | None:
        try:
            task = signature.type
        except NotRegistered:  # it is sent by its name, and known to workers
            return None
        if task.app is not self._app or not plainly_applied(task):
            return None
        given = {option: value for option, value in signature.options.items() if value is not None}
        options = {**_NOTHING, "ignore_result": task.ignore_result, **task._get_exec_options(), **given}  # noqa: SLF001
        options |= {"result_cls": task.AsyncResult, "task_type": task}
        mould = self._batch.moulds.of(task.name, task, options)
        return None if mould is None else _Way(task, mould, trails=options.get("add_to_parent", True))


def _ids(options: dict[str, Any]) -> set[tuple[str, Any]]:
    return {("task_id", options["task_id"])} if "task_id" in options else set()


class _Way:
    """How plain signatures of one task, under one set of options, are sent."""

    def __init__(self, task: Any, mould: Mould, *, trails: bool) -> None:
        self._mould = mould
        self._header = task.__header__ if task.typing else None
        self._check = partial(check_arguments, task.name, parameters=task.parameter_names)
        self._trails = trails

    def send(self, batch: Batch, sent: SentTasks, parent: Any, signature: Signature) -> bool:
        """Send one; false when Celery has to."""
        args, kwargs, options = signature["args"], signature["kwargs"], signature["options"]
        if type(args) not in (tuple, list) or type(kwargs) is not dict:
            return False
        if self._header is not None:
            self._header(*args, **kwargs)
        self._check(args, kwargs)
        task_id = batch.cast(self._mould, args, kwargs, options)
        if task_id is None:
            return False
        sent.add(task_id, self._mould.result)
        if parent is not None and self._trails:
            parent.add_trail(self._mould.result(task_id))
        return True


def send_one_by_one(app: Any, signatures: Iterable[Any], producer: Any, confirms: Confirms) -> list[Any]:
    """As ``app.send_tasks`` on a broker that is no store; what RabbitMQ can confirm together, it does."""
    sent: list[Any] = []
    try:
        for one in signatures:
            sent.append(maybe_signature(one, app=app).apply_async(producer=producer))
            confirms.published(len(sent))
        confirms.wait()
    except Exception as error:
        with suppress(CeleriacError):
            confirms.wait()
        if not confirms.certain:
            raise
        raise PartlySent(confirms.certain, error) from error
    return sent
