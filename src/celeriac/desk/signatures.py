"""The arguments of a task by their names, as far as the app knows the task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def positional(app: Any, task: str | None) -> list[str]:
    """The names of the task's positional parameters, ``self`` left out; none where the app does not know it."""
    header = getattr(app.tasks.get(task), "__header__", None)
    if header is None:
        return []
    return [name for name, one in inspect.signature(header).parameters.items() if one.kind in _POSITIONAL]


def named(app: Any, task: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Each argument under its name, and the positional ones under their position too."""
    found = {str(place): value for place, value in enumerate(args)}
    found.update(zip(positional(app, task), args, strict=False))
    return {**found, **kwargs}
