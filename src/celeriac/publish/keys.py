"""The idempotency key of a publish, as the message's header carries it."""

from __future__ import annotations

from typing import Any

from celeriac.core.idempotency import KeyTemplate, arguments_digest
from celeriac.core.message import KEY_HEADER

#: Options by which a canvas knows the id of what it sends, before it is sent.
_AWAITED = ("task_id", "link", "link_error", "chain", "chord", "group_id")


def with_key(task: Any, args: Any, kwargs: Any, options: dict[str, Any], ttl: float) -> dict[str, Any]:
    """The publish options with the call's key in the headers, for a task that declares one.

    Raises:
        ArgumentError: an argument the key names is None, empty or no plain value.
    """
    template: KeyTemplate | None = getattr(task, "key_template", None)
    if template is None:
        return options
    args, kwargs = args or (), kwargs or {}
    own_ttl = task.idempotency_ttl
    header = {
        "key": template.render(args, kwargs),
        "digest": arguments_digest(task.name, template.signature, args, kwargs),
        "ttl": float(ttl if own_ttl is None else own_ttl),
        # Whoever holds the id already waits for this very task, and a taken
        # key must not leave him waiting.
        "awaited": any(options.get(name) for name in _AWAITED),
    }
    return {**options, "headers": {**(options.get("headers") or {}), KEY_HEADER: header}}
