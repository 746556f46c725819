"""What a record says, in the words of Celery's results; and that somebody has read it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from celery import states
from celery.exceptions import TaskRevokedError

from celeriac.core.attempt import Record
from celeriac.core.transactions import fate_of, open_for
from celeriac.errors import PublishRolledBack, StoreError
from celeriac.store.protocols import Failures

logger = logging.getLogger(__name__)


def meta_of(backend: Any, task_id: str, record: Record | None) -> dict[str, Any]:
    """Celery's dictionary of a result; pending where there is no record, or failed where it was never sent."""
    if record is None:
        return never_sent(task_id) or {"status": states.PENDING, "result": None, "task_id": task_id}
    return known_meta(backend, record)


def known_meta(backend: Any, record: Record) -> dict[str, Any]:
    """Celery's dictionary of the result that a record has."""
    extra = json.loads(record.meta) if record.meta else {}
    done = record.finished_at
    meta = {
        "task_id": record.task_id,
        "status": record.state,
        "result": _decoded(backend, record, extra),
        "traceback": record.traceback,
        "children": extra.get("children") or [],
        "date_done": datetime.fromtimestamp(done, timezone.utc).isoformat() if done else None,
        "name": record.name,
        "worker": record.worker,
        "retries": record.retries,
        "queue": record.queue,
    }
    meta.update(_extended(backend, extra))
    return backend.meta_from_decoded(meta)  # type: ignore[no-any-return]


def _extended(backend: Any, extra: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {key: extra[key] for key in ("group_id", "parent_id") if key in extra}
    meta.update({key: backend.decode(extra[key]) for key in ("args", "kwargs") if key in extra})
    if "stamps" in extra:
        stamps = backend.decode(extra["stamps"])
        meta.update(stamps, stamped_headers=list(stamps))
    return meta


def _decoded(backend: Any, record: Record, extra: dict[str, Any]) -> Any:
    if record.result is not None:
        return backend.decode(record.result)
    if record.state == states.REVOKED:
        return backend.prepare_exception(TaskRevokedError(extra.get("why", "revoked")))
    if record.state == states.FAILURE and "why" in extra:
        return backend.prepare_exception(RuntimeError(f"the task was {extra['why']}; see `celery dead list`"))
    return None


def never_sent(task_id: str) -> dict[str, Any] | None:
    """The end of a task that was published in a transaction of this process which was rolled back."""
    fate = fate_of(task_id)
    if fate is None or not fate.rolled_back():
        return None
    return {"task_id": task_id, "status": states.FAILURE, "result": PublishRolledBack(task_id), "traceback": None}


def tell_read(store: Failures, records: Iterable[Record]) -> None:
    """Whoever asks how a task ended has heard of its failure."""
    failed = [record.task_id for record in records if record.state == states.FAILURE and record.closed]
    # In his own transaction he may hold what this would wait for.
    if failed and open_for(store) is None:
        try:
            store.failures_read(failed)
        except StoreError as error:  # a file that this process may not write can be read all the same
            logger.debug("that the failures of %s were read cannot be written: %s", failed, error)
