"""States, results, groups and chords, read from the ledger and written with the settlement."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from functools import cached_property, partial
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.canvas import maybe_signature
from celery.exceptions import TaskRevokedError, TimeoutError  # noqa: A004  # Celery's own, which get() promises
from celery.result import AsyncResult, GroupResult, result_from_tuple
from kombu.serialization import registry
from kombu.utils.json import dumps as kombu_dumps

from celeriac.core.attempt import Attempt, ChordPart, Record
from celeriac.core.chains import stands_for_rest
from celeriac.core.current import current, is_unjoined
from celeriac.core.message import WORKFLOW_HEADER
from celeriac.core.telling import tells_somebody
from celeriac.core.text import writable
from celeriac.core.transactions import fate_of, forget, open_for
from celeriac.core.workflow import Membership
from celeriac.errors import ChainLost, PublishRolledBack, StoreError, TransactionError
from celeriac.results import chords
from celeriac.results.blocked import left_behind
from celeriac.results.failing import fail_all, fail_body
from celeriac.settings import absolute_url, shown_url
from celeriac.store.protocols import News, Store
from celeriac.store.registry import Opened, open_store
from celeriac.transport.chains import Rests
from celeriac.transport.unavailable import publishing

logger = logging.getLogger(__name__)

#: Seconds a waiter looks again even when nothing was committed.
LOOK_AGAIN = 1.0
_PLAIN = frozenset({type(None), bool, int, float, str})
_dumps = json.JSONEncoder().encode


class LedgerBackend(BaseBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's result interface on the ledger.

    Inside an attempt nothing is written here: what Celery reports is kept on the
    attempt and becomes durable with its settlement, or not at all.
    """

    supports_autoexpire = True  # the pruner does it; no periodic task is needed
    supports_native_join = True
    persistent = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self._last_body: tuple[Any, Any] = (None, None)
        self._store: Opened | None = None

    @property
    def store(self) -> Store:
        """The ledger; opened when first needed, so that configuring an app touches no file."""
        if self._store is None or self._store.replaced:
            self._store = open_store(self.url)
        return self._store

    def as_uri(self, include_password: bool = False) -> str:
        """The URL with the absolute path, or without its password."""
        url = absolute_url(self.url)
        return url if include_password else shown_url(url)

    # -- writing

    def encode(self, data: Any) -> Any:
        """As Celery's; what most tasks return is the same in Python's JSON as in kombu's, at a tenth of the cost."""
        if type(data) in _PLAIN and self.serializer == "json" and registry._encoders["json"].encoder is kombu_dumps:  # noqa: SLF001
            return _dumps(data)
        return super().encode(data)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Celery's retry loop round this is left out: inside an attempt nothing can fail."""
        if state == states.STARTED and current() is not None:
            return result  # the started mark rides on a settlement
        encoded = self.encode_result(result, state)
        self._store_result(task_id, encoded, state, traceback, request)
        return encoded

    @cached_property
    def _extended(self) -> bool:
        return bool(self.app.conf.find_value_for_key("extended", "result"))

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> None:
        attempt = current()
        if attempt is None:
            store = self.store
            store.store(self._record(task_id, result, state, traceback, request, store.now(), generation=0))
            return
        now = self.app.store.now()
        if attempt.task_id == task_id:
            self._report_own(attempt, result, state, traceback, request, now)
        else:
            attempt.others.append(self._record(task_id, result, state, traceback, request, now, generation=0))

    def mark_as_failure(self, task_id: str, *args: Any, **kwargs: Any) -> None:
        """As Celery's, once: a hook that raises makes its tracer report a second end."""
        attempt = current()
        if attempt is not None and attempt.task_id == task_id and attempt.request is not None:
            if attempt.told:
                return
            attempt.told = True
            # Celery calls the callbacks before it finds that a result cannot be encoded.
            attempt.follow_ups.clear()
        super().mark_as_failure(task_id, *args, **kwargs)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """As Celery's, with all that would have come next: whoever waits for that, a chord too, would wait for ever."""
        super().mark_as_revoked(task_id, reason, request, store_result, state)
        chain = getattr(request, "chain", None)
        self._fail_chain(chain, TaskRevokedError(reason), store_result=store_result, state=state)

    def block(self, attempt: Attempt) -> None:
        """Have what comes after a dead letter in its workflow read that it waits for that, or that the workflow has failed."""
        part = Membership.from_header(attempt.workflow)
        cause = attempt.failure.error if attempt.failure is not None else ""
        error = left_behind(part.on_failure if part else "block", attempt.name, attempt.task_id, cause)
        result = self.encode(self.encode_result(error, states.FAILURE))
        for record in attempt.others:
            if record.state == states.FAILURE:
                record.result = result
        for member in attempt.chord:  # a chain's, whose end stands in its chord
            if not member.succeeded and member.task_id != attempt.task_id:
                member.result = result

    def whole(self, chain: Sequence[Any]) -> Sequence[Any]:
        """The steps with those that are kept in the store in the place of what stands for them."""
        if not any(map(stands_for_rest, chain)):
            return chain
        rests = Rests(self.store, self.app.conf.accept_content)
        try:
            # Within a run, what is not told here is told by nobody.
            insist = self.app.execution_room.settler.insist if current() is not None else _once
            steps: Sequence[Any] = insist(lambda: rests.with_all(chain))
        except ChainLost:
            logger.exception("of a chain that has failed, only the last step is marked so")
            return chain  # what stands for the rest has the last one's id
        return steps

    def _report_own(
        self, attempt: Attempt, result: Any, state: str, traceback: str | None, request: Any, now: float
    ) -> None:
        record = self._record(attempt.task_id, result, state, traceback, request, now, attempt.delivery.generation)
        if state in self.READY_STATES or state == states.RETRY:
            attempt.record = record
        else:
            self.store.store(record)  # a state of the task's own, such as PROGRESS

    def _record(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any, now: float, generation: int
    ) -> Record:
        closed = state in self.READY_STATES
        return Record(
            task_id,
            generation,
            state,
            closed,
            name=getattr(request, "task", None),
            retries=getattr(request, "retries", None) or 0,
            finished_at=now if closed else None,
            result=self.encode(result),
            traceback=traceback and writable(traceback),
            meta=self._meta(request),
            expires_at=now + self.expires if self.expires else None,
            **_failure(request, result, state),
        )

    def _meta(self, request: Any) -> str | None:
        """What else Celery wants to know of a result, only where there is anything."""
        if request is None:
            return None
        children = [child.as_tuple() for child in getattr(request, "children", None) or ()]
        found = (
            ("children", children),
            ("group_id", getattr(request, "group", None)),
            ("parent_id", getattr(request, "parent_id", None)),
        )
        meta: dict[str, Any] = {key: value for key, value in found if value}
        if self._extended:
            meta.update(self._extension(request))
        return json.dumps(meta) if meta else None

    def _extension(self, request: Any) -> dict[str, Any]:
        # A request that stands for an unknown task has none of these.
        found = {name: self.encode(getattr(request, name, None)) for name in ("args", "kwargs")}
        names, stamps = getattr(request, "stamped_headers", None), getattr(request, "stamps", None)
        if names and stamps:
            found["stamps"] = self.encode({name: stamps[name] for name in names if name in stamps})
        return found

    # -- reading

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        record = self.store.records([task_id]).get(task_id)
        self._tell_read([record] if record else [])
        return (
            self._never_sent(task_id) or self._to_meta(task_id, None)
            if record is None
            else self._to_meta(task_id, record)
        )

    def _tell_read(self, records: Iterable[Record]) -> None:
        """Whoever asks how a task ended has heard of its failure."""
        failed = [record.task_id for record in records if record.state == states.FAILURE and record.closed]
        # In his own transaction he may hold what this would wait for.
        if failed and open_for(self.store) is None:
            try:
                self.store.failures_read(failed)
            except StoreError as error:  # a file that this process may not write can be read all the same
                logger.debug("that the failures of %s were read cannot be written: %s", failed, error)

    def _never_sent(self, task_id: str) -> dict[str, Any] | None:
        """The end of a task that was published in a transaction of this process which was rolled back."""
        fate = fate_of(task_id)
        if fate is None or not fate.rolled_back():
            return None
        return {"task_id": task_id, "status": states.FAILURE, "result": PublishRolledBack(task_id), "traceback": None}

    def settled_result(self, task_id: str) -> Any:
        """The result that ``task_id`` last settled with, also while it is queued once more."""
        record = self.store.records([task_id], live=False).get(task_id)
        return self._to_meta(task_id, record)["result"]

    def _to_meta(self, task_id: str, record: Record | None) -> dict[str, Any]:
        if record is None:
            return {"status": states.PENDING, "result": None, "task_id": task_id}
        extra = json.loads(record.meta) if record.meta else {}
        done = record.finished_at
        meta = {
            "task_id": task_id,
            "status": record.state,
            "result": self._decoded(record, extra),
            "traceback": record.traceback,
            "children": extra.get("children") or [],
            "date_done": datetime.fromtimestamp(done, timezone.utc).isoformat() if done else None,
            "name": record.name,
            "worker": record.worker,
            "retries": record.retries,
            "queue": record.queue,
        }
        meta.update({key: extra[key] for key in ("group_id", "parent_id") if key in extra})
        for key in ("args", "kwargs"):
            if key in extra:
                meta[key] = self.decode(extra[key])
        if "stamps" in extra:
            stamps = self.decode(extra["stamps"])
            meta.update(stamps, stamped_headers=list(stamps))
        return self.meta_from_decoded(meta)  # type: ignore[no-any-return]

    def _decoded(self, record: Record, extra: dict[str, Any]) -> Any:
        if record.result is not None:
            return self.decode(record.result)
        if record.state == states.REVOKED:
            return self.prepare_exception(TaskRevokedError(extra.get("why", "revoked")))
        if record.state == states.FAILURE and "why" in extra:
            return self.prepare_exception(RuntimeError(f"the task was {extra['why']}; see `celery dead list`"))
        return None

    def task_result_exists(self, task_id: str) -> bool:
        record = self.store.records([task_id]).get(task_id)
        return record is not None and record.closed

    def _forget(self, task_id: str) -> None:
        forget(task_id)
        # Another broker may deliver its message once more.
        self.store.forget(task_id, result_only=getattr(self.app, "ledger_beside", None) is not None)

    # -- waiting: woken by the commit, not by a timer

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:
        self._ensure_not_eager()
        self._check_outside([task_id])
        for _ in self._commits(timeout, on_interval):
            meta: dict[str, Any] = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                return meta
        raise TimeoutError("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        **kwargs: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        waiting = set(task_ids)
        self._check_outside(waiting)
        for _ in self._commits(timeout, on_interval):
            for task_id, meta in self._ended(waiting):
                waiting.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            if not waiting:
                return
        raise TimeoutError(f"Operation timed out ({timeout})")

    def _ended(self, task_ids: set[str]) -> list[tuple[str, dict[str, Any]]]:
        records = self.store.records(sorted(task_ids))
        self._tell_read(records.values())
        ended = [
            (one, self._to_meta(one, record)) for one, record in records.items() if record.state in states.READY_STATES
        ]
        never = ((task_id, self._never_sent(task_id)) for task_id in sorted(task_ids - records.keys()))
        return ended + [(task_id, meta) for task_id, meta in never if meta is not None]

    def _check_outside(self, task_ids: Iterable[str]) -> None:
        fates = {fate for fate in map(fate_of, task_ids) if fate is not None}
        if open_for(self.store) is not None or any(fate.is_open_here() for fate in fates):
            raise TransactionError(
                "a result is waited for in the transaction that sends its task, which begins only when that commits. "
                "Call get() after the commit"
            )

    def _commits(self, timeout: float | None, on_interval: Any) -> Iterator[None]:
        """Once now, then after every commit, until ``timeout`` seconds have passed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            mark = self.store.mark(News.RESULTS)
            yield
            if on_interval:
                on_interval()
            left = LOOK_AGAIN if deadline is None else min(LOOK_AGAIN, deadline - time.monotonic())
            if left <= 0:
                return
            self.store.wait(left, mark, News.RESULTS)

    # -- groups and chords

    def _save_group(self, group_id: str, result: Any) -> Any:
        expires_at = self.store.now() + self.expires if self.expires else None
        self._joining.save_group(group_id, self.encode({"result": result.as_tuple()}), expires_at)
        return result

    @property
    def _joining(self) -> Any:
        """Where what a chord is joined by is written: with its members, in the transaction that sends them."""
        within = open_for(self.store)
        return within if hasattr(within, "set_chord_size") else self.store

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        saved = self.store.get_group(group_id)
        if saved is None:
            return None
        meta: dict[str, Any] = self.decode(saved)
        return {"result": result_from_tuple(meta["result"], self.app), "task_id": group_id}

    def get_group_meta(self, group_id: str, cache: bool = True) -> dict[str, Any] | None:
        return self._restore_group(group_id)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        meta = self._restore_group(group_id)
        return meta["result"] if meta else None

    def _delete_group(self, group_id: str) -> None:
        self.store.delete_group(group_id)

    def save_group(self, group_id: str, result: Any) -> Any:
        return self._save_group(group_id, result)

    def delete_group(self, group_id: str) -> None:
        self._delete_group(group_id)

    @publishing()
    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        header: GroupResult = self.app.GroupResult(*header_result_args)
        if getattr(self.app, "local_outbox", None) is not None:
            # It is joined in the store: members that were kept without that would run, and the body never.
            self.store.get_group(header.id)
        if any(isinstance(member, GroupResult) for member in header.results or ()):
            # A nested header is joined by its tree, not by the flat parts.
            header.save(backend=self)

    @publishing()
    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        if is_unjoined(group_id):  # Celery says how many there are of it, too
            return
        if self._joining.set_chord_size(group_id, chord_size):
            chords.dispatch(self, group_id)

    @publishing()
    def add_to_chord(self, chord_id: str, result: AsyncResult) -> None:
        """The chord grows with the message of its new member: one that dies with this run was never a member."""
        attempt = current()
        if attempt is None:
            self.store.grow_chord(chord_id, 1)
        else:
            attempt.growing[result.id] = chord_id

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        if not request.group or not request.id:
            return
        part = self._part(request, state, result)
        attempt = current()
        if attempt is not None:
            attempt.chord.append(part)
        elif self.store.add_chord_part(part):
            chords.dispatch(self, part.group_id)

    def _part(self, request: Any, state: str, result: Any) -> ChordPart:
        position = getattr(request, "group_index", None)
        return ChordPart(
            request.group,
            request.id,
            0 if position is None else position,
            state == states.SUCCESS,
            self.encode(self.encode_result(result, state)),
            self._encoded_body(request),
            cancelled=state == states.REVOKED,
        )

    def _encoded_body(self, request: Any) -> Any:
        """Members of one group come one after the other, with the same body."""
        # What fails because something before it did has no message that would say it.
        found = request.group, request.chord, getattr(request, WORKFLOW_HEADER, None) or _workflow()
        last, encoded = self._last_body
        if last != found:
            encoded = self.encode({**request.chord, WORKFLOW_HEADER: found[2]})
            self._last_body = found, encoded  # at once, for threads
        return encoded

    # -- what follows a failure

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> None:
        """The body fails, which nothing sends."""
        error: Any = sys.exc_info()[1] if exc is None else exc
        fail_body(self, maybe_signature(callback, app=self.app), error)

    def _fail_chain(
        self,
        chain: Any,
        exc: Any,
        traceback: Any = None,
        store_result: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        steps = chain if isinstance(chain, (list, tuple)) else ()
        fail_all(self, steps, exc, traceback, store_result=store_result, state=state)

    # -- error callbacks

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        """Those sent as tasks go with the settlement; those called in place run after it."""
        attempt = current()
        if attempt is None:
            super()._call_task_errbacks(request, exc, traceback)
            return
        inline = [errback for errback in request.errbacks if self._runs_inline(errback)]
        sent = [errback for errback in request.errbacks if errback not in inline]
        call = super()._call_task_errbacks
        if sent:
            attempt.telling = True
            call(_with_errbacks(request, sent), exc, traceback)
            attempt.telling = False
        if inline:
            attempt.after_settle.append(partial(call, _with_errbacks(request, inline), exc, traceback))

    def _runs_inline(self, errback: Any) -> bool:
        """Celery calls an error callback in place when it takes (request, exc, traceback)."""
        signature = self.app.signature(errback)
        task = self.app.tasks.get(signature.task)
        header = getattr(task, "__header__", None)
        if header is None or isinstance(header, partial):
            return False
        return bool(self._errback_arity_greater(signature, 1))


def _workflow() -> Any:
    attempt = current()
    return None if attempt is None else attempt.workflow


def _failure(request: Any, result: Any, state: str) -> dict[str, Any]:
    """What the list of unread failures has of a failure; ``result`` is Celery's form of the exception."""
    if state != states.FAILURE:
        return {}
    if isinstance(result, dict) and "exc_type" in result:
        module, message = result.get("exc_module"), result.get("exc_message")
        kind = f"{module}.{result['exc_type']}" if module else str(result["exc_type"])
        said = ", ".join(map(str, message)) if isinstance(message, (list, tuple)) else str(message)
    else:
        kind, said = f"{type(result).__module__}.{type(result).__qualname__}", str(result)
    return {"error_type": kind, "error": writable(said), "told": tells_somebody(request)}


def _once(read: Callable[[], Any]) -> Any:
    return read()


def _with_errbacks(request: Any, errbacks: list[Any]) -> Any:
    """The request as it is, with these error callbacks alone."""
    copy = type(request)(request.__dict__)
    copy.errbacks = errbacks
    return copy
