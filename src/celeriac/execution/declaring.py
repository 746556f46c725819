"""What a task's declaration says, and what it cannot mean."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from celeriac.core.retries import OFF
from celeriac.core.retry_options import policy_of
from celeriac.errors import CeleriacWarning, OptionError
from celeriac.settings import undeclared_queue

#: Celery's options that say what `retries=` says, and what to write in it instead.
_INSTEAD = {
    "max_retries": "Retries(max_retries=…)",
    "default_retry_delay": 'Retries(backoff=…, growth="fixed")',
    "retry_backoff": "Retries(backoff=…)",
    "retry_backoff_max": "Retries(cap=…)",
    "retry_jitter": "Retries(jitter=…)",
    "retry_kwargs": "Retries(max_retries=…, backoff=…, queue=…, priority=…)",
    "dont_autoretry_for": "Retries(on=…), or a sequence whose first pair is (exceptions, False)",
}


def check_declaration(cls: Any, app: Any) -> None:
    """Refuse what a task class says of retries and cannot mean; warn of a ``self`` that it is not given.

    Raises:
        OptionError: naming the task, the option and what to write instead.
    """
    name = str(cls.name)
    _warn_of_self(name, inspect.getattr_static(cls, "run"))
    policy = policy_of(name, cls.retries)
    if cls.retries is None:
        return
    if getattr(cls, "autoretry_for", ()):
        problem = "it is declared beside autoretry_for, and an error can be tried again by one of them only. "
        remedy = "Leave retries out, or say Retries(on=(…,)) and leave autoretry_for out (autoretry_for=() where a base has it)"
        raise OptionError(name, "retries", problem + remedy)
    if policy is OFF:
        return
    for option in _INSTEAD.keys() & vars(cls).keys():  # a base's are for tasks that say nothing themselves
        raise OptionError(name, option, f"it is declared beside retries=, which says it too. Write {_INSTEAD[option]}")
    if not cls.durable:
        problem = "durable=False leaves the task to Celery, and with it what is tried again. Use autoretry_for, or leave durable out"
        raise OptionError(name, "retries", problem)
    for queue in policy.queues:
        unknown = undeclared_queue(app.conf, queue)
        if unknown is not None:
            raise OptionError(name, "retries", unknown)


def _warn_of_self(name: str, run: Any) -> None:
    if isinstance(run, staticmethod) and next(iter(inspect.signature(run.__func__).parameters), None) == "self":
        warnings.warn(
            f"task {name}: its first parameter is self, and without bind=True that is the call's first argument. Declare "
            "it with @app.task(bind=True), or call the parameter something else",
            CeleriacWarning,
            stacklevel=2,
        )
