"""Which queues there are, where they are declared, and of which kind they are."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


def undeclared_queue(conf: Any, name: str) -> str | None:
    """Why nothing may be sent to the queue `name`; None where it is declared, or queues are made as they are named."""
    queues = conf.task_queues
    if not queues or conf.task_create_missing_queues:
        return None
    declared = list(queues) if isinstance(queues, Mapping) else [str(queue.name) for queue in queues]
    if name in declared:
        return None
    near = get_close_matches(name, declared, 1, 0.0)
    return f"queue {name!r} is not in task_queues; did you mean {near[0]!r}? Declare it there, or set task_create_missing_queues"


def all_quorum(queues: Any) -> bool:
    """Whether every queue of a `task_queues` setting is a quorum queue."""
    declared = queues.values() if isinstance(queues, Mapping) else queues
    arguments = [
        queue.get("queue_arguments") if isinstance(queue, Mapping) else getattr(queue, "queue_arguments", None)
        for queue in declared
    ]
    return all((each or {}).get("x-queue-type") == "quorum" for each in arguments)


def leaves_their_kind(queues: Any) -> bool:
    """Whether a `task_queues` setting says nothing of the kind of its queues: all are celeriac's, by their names."""
    declared = list(queues.values() if isinstance(queues, Mapping) else queues or ())
    return bool(declared) and all(getattr(queue, "kind_is_open", False) for queue in declared)
