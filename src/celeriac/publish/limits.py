"""A task's limits, as its message's header carries them."""

from __future__ import annotations

from typing import Any

from celeriac.core.limits import Limits, Rule, combined
from celeriac.core.message import LIMITS_HEADER


def with_limits(task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The publish options with the call's limits in the headers, for a task that declares some.

    Raises:
        ArgumentError: an argument that a limit's key names is None, empty or no plain value.
    """
    declared: Limits | None = getattr(task, "declared_limits", None)
    if declared is None:
        return options
    headers = {**(options.get("headers") or {}), LIMITS_HEADER: declared.bind(args or (), kwargs or {})}
    return {**options, "headers": headers}


def declared_rules(app: Any) -> dict[str, Rule]:
    """The numbers of all limits that the app's tasks declare, by name.

    Raises:
        OptionError: two tasks give other numbers under one name.
    """
    rules: dict[str, Rule] = {}
    for name, task in sorted(app.tasks.items()):
        declared: Limits | None = getattr(task, "declared_limits", None)
        if declared is not None:
            rules = combined(rules, declared.rules, name)
    return rules
