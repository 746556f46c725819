"""The ledger as Celery's result backend: what each of Celery's calls comes to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.canvas import maybe_signature
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from kombu.serialization import registry
from kombu.utils.json import dumps as kombu_dumps

from celeriac.core.attempt import Attempt
from celeriac.core.current import current
from celeriac.core.transactions import forget
from celeriac.results import failing, waiting
from celeriac.results.errbacks import call_in_turn
from celeriac.results.joining import Joining
from celeriac.results.reading import known_meta, meta_of, tell_read
from celeriac.results.recording import Recording
from celeriac.settings import absolute_url, shown_url
from celeriac.store.protocols import Store
from celeriac.store.registry import Opened, open_store
from celeriac.transport.unavailable import publishing

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
        self._recording = Recording(self)
        self._joining = Joining(self)
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

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> None:
        attempt = current()
        if attempt is None:
            store = self.store
            store.store(self._recording.record(task_id, result, state, traceback, request, store.now()))
            return
        now = self.app.store.now()
        if attempt.task_id == task_id:
            self._report_own(attempt, result, state, traceback, request, now)
        else:
            attempt.others.append(self._recording.record(task_id, result, state, traceback, request, now))

    def _report_own(
        self, attempt: Attempt, result: Any, state: str, traceback: str | None, request: Any, now: float
    ) -> None:
        record = self._recording.record(
            attempt.task_id, result, state, traceback, request, now, attempt.delivery.generation
        )
        if state in self.READY_STATES or state == states.RETRY:
            attempt.record = record
        else:
            self.store.store(record)  # a state of the task's own, such as PROGRESS

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
        self._joining.count(task_id, kwargs.get("request"), succeeded=False)

    def mark_as_done(self, task_id: str, result: Any, request: Any = None, *args: Any, **kwargs: Any) -> None:
        """As Celery's, and one more of many has ended."""
        super().mark_as_done(task_id, result, request, *args, **kwargs)
        self._joining.count(task_id, request, succeeded=True)

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
        self._joining.count(task_id, request, succeeded=False, cancelled=True)

    # -- reading

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        record = self.store.records([task_id]).get(task_id)
        tell_read(self.store, [record] if record else [])
        return meta_of(self, task_id, record)

    def settled_result(self, task_id: str) -> Any:
        """The result that ``task_id`` last settled with, also while it is queued once more; None where it has no record."""
        record = self.store.records([task_id], live=False).get(task_id)
        return None if record is None else known_meta(self, record)["result"]

    def task_result_exists(self, task_id: str) -> bool:
        record = self.store.records([task_id]).get(task_id)
        return record is not None and record.closed

    def _forget(self, task_id: str) -> None:
        forget(task_id)
        # Another broker may deliver its message once more.
        self.store.forget(task_id, result_only=getattr(self.app, "ledger_beside", None) is not None)

    # -- waiting

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:
        self._ensure_not_eager()
        return waiting.for_one(self, task_id, timeout, on_interval)

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
        return waiting.for_many(self, task_ids, timeout, on_message, on_interval)

    # -- groups and chords

    def save_group(self, group_id: str, result: Any) -> Any:
        self._joining.save_group(group_id, result)
        return result

    def get_group_meta(self, group_id: str, cache: bool = True) -> dict[str, Any] | None:
        return self._joining.saved_group(group_id)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        meta = self._joining.saved_group(group_id)
        return meta["result"] if meta else None

    def delete_group(self, group_id: str) -> None:
        self.store.delete_group(group_id)

    @publishing()
    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        self._joining.begin(self.app.GroupResult(*header_result_args))

    @publishing()
    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        self._joining.set_size(group_id, chord_size)

    @publishing()
    def add_to_chord(self, chord_id: str, result: AsyncResult) -> None:
        self._joining.grow(chord_id, result.id)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        self._joining.add_part(request, state, result)

    # -- what follows a failure

    def block(self, attempt: Attempt) -> None:
        """Have what comes after a dead letter in its workflow read that it waits for that, or that the workflow has failed."""
        failing.block(self, attempt)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> None:
        """The body fails, which nothing sends."""
        error: Any = sys.exc_info()[1] if exc is None else exc
        failing.fail_body(self, maybe_signature(callback, app=self.app), error)

    def _fail_chain(
        self,
        chain: Any,
        exc: Any,
        traceback: Any = None,
        store_result: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        steps = chain if isinstance(chain, (list, tuple)) else ()
        failing.fail_all(self, steps, exc, traceback, store_result=store_result, state=state)

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        attempt, call = current(), super()._call_task_errbacks
        if attempt is None:
            call(request, exc, traceback)
        else:
            call_in_turn(self, attempt, call, request, exc, traceback)
