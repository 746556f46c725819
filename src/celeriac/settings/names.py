"""Misspelt settings and task options, which Celery accepts in silence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from celery import Task
from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS
from celery.utils.text import match_case

from celeriac.errors import CeleriacWarning, OptionError, SettingsError
from celeriac.settings.own import OWN_NAMES, PREFIX
from celeriac.settings.policy import Policy

#: Ratio of difflib from which a name counts as misspelt. Options are shorter, and a base class can declare its own.
SETTING_CUTOFF = 0.88
OPTION_CUTOFF = 0.83
#: A word this short resembles too many others: a task's own `shard` is not Celery's `shared`.
_SHORT = 6

#: First words of settings that nobody else's configuration has; not "redis" or "database", say.
_FAMILIES = frozenset(
    {"accept", "beat", "broker", "celeriac", "control", "enable", "event", "result", "security", "task", "worker"}
)

#: Read by Celery 5.7 without being declared.
UNDECLARED = frozenset(
    {
        "cassandra_secure_bundle_path",
        "dynamodb_endpoint_url",
        "firestore_project",
        "gcs_threadpool_maxsize",
        "override_backends",
        "redis_backend_credential_provider",
        "redis_backend_health_check_interval",
        "redis_client_name",
        "result_backend_thread_safe",
    }
)

#: Taken by the decorator or sent with each message, and so no attributes of the task class.
OPTIONS = frozenset(
    {
        "autoretry_for",
        "base",
        "bind",
        "compression",
        "connection",
        "countdown",
        "delivery_mode",
        "dont_autoretry_for",
        "eta",
        "exchange",
        "expires",
        "filter",
        "immediate",
        "lazy",
        "link",
        "link_error",
        "mandatory",
        "name",
        "priority",
        "pydantic",
        "pydantic_context",
        "pydantic_dump_kwargs",
        "pydantic_strict",
        "queue",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "retry_kwargs",
        "routing_key",
        "shared",
    }
)
#: Attributes of Celery's task class that an option sets.
SETTABLE = frozenset(
    name
    for name, value in vars(Task).items()
    if not (name.startswith("_") or callable(value) or isinstance(value, property))
)
#: Methods of a task that an option of the same name would silently replace, and what is meant.
METHODS = {"retry": "retries", "circuit": "circuits"}
#: Other words for an option.
_MEANT = {"max_retry": "max_retries", "retrys": "retries"}
#: celeriac's own.
OWN_OPTIONS = frozenset({"durable", "idempotency_key", "idempotency_ttl", "retries"})


class MisspeltNameWarning(CeleriacWarning):
    """A setting or option named almost like a known one, under `defaults="celery"`."""


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The settings there are: today's names, and Celery's old upper-case ones with what they are called today."""

    new: frozenset[str]
    old: Mapping[str, str]


KNOWN = KnownNames(frozenset(SETTING_KEYS) | UNDECLARED | OWN_NAMES, dict(_TO_NEW_KEY))


def check_names(
    keys: Iterable[object], policy: Policy = "safe", *, known: KnownNames = KNOWN, namespace: str | None = None
) -> None:
    """Look for misspelt settings among the keys of a configuration.

    With a `namespace`, only keys that begin with it are looked at: the rest of a Django settings module is not ours.
    What resembles nothing passes, since plug-ins have their own. Raises `SettingsError` under "safe", warns under
    "celery".
    """
    for key, right in misspelt_settings(keys, known, namespace).items():
        error = SettingsError(key, f"there is no such setting, and it would be ignored; did you mean {right}?")
        _raise_or_warn(error, policy)


def check_environment(policy: Policy = "safe", environ: Mapping[str, str] | None = None) -> None:
    """Look for misspelt variables among those that begin with `CELERIAC_`; raises and warns as `check_names` does."""
    names = os.environ if environ is None else environ
    check_names([name for name in names if name.startswith(PREFIX.upper())], policy)


def misspelt_settings(
    keys: Iterable[object], known: KnownNames = KNOWN, namespace: str | None = None
) -> dict[str, str]:
    """The misspelt among the keys, each with the right name in the same style."""
    prefix = f"{namespace.rstrip('_')}_" if namespace else ""
    looked_at = (key for key in keys if isinstance(key, str) and not key.startswith("_"))
    return {key: right for key in looked_at if (right := _right_setting(key, known, prefix)) is not None}


def _right_setting(key: str, known: KnownNames, prefix: str) -> str | None:
    if key in known.new or key in known.old:
        return None
    if key.startswith(PREFIX.upper()):
        return _right_own(key, known)
    if prefix:
        return _right_in_namespace(key, known, prefix) if key.lower().startswith(prefix.lower()) else None
    if key.isupper():
        # A module of constants has its own DATABASE_URL and the like; only what is evidently Celery's is looked at.
        return _nearest_old(key, known) if key.startswith(("CELERY", "BROKER_")) else None
    return _nearest(key.lower(), (name for name in known.new if name.partition("_")[0] in _FAMILIES), SETTING_CUTOFF)


def _right_in_namespace(key: str, known: KnownNames, prefix: str) -> str | None:
    stem = key[len(prefix) :].lower()
    if PREFIX + stem in known.new:
        new: str | None = PREFIX + stem
    elif stem in known.new:
        new = stem
    else:
        new = _nearest(stem, known.new, SETTING_CUTOFF) or _nearest_old(key.upper(), known)
    right = match_case(prefix + new, prefix) if new else None
    return None if right == key else right


def _right_own(key: str, known: KnownNames) -> str | None:
    """A setting of celeriac's own in capitals, which the environment has and a Django settings module may have."""
    right = _nearest(key, (name.upper() for name in known.new if name.startswith(PREFIX)), SETTING_CUTOFF)
    return None if right == key else right


def _nearest_old(key: str, known: KnownNames) -> str | None:
    close = _nearest(key, known.old, SETTING_CUTOFF)
    return known.old[close] if close else None


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    return next(iter(get_close_matches(name, list(known), 1, cutoff)), None)


def known_options(task_class: type) -> frozenset[str]:
    """What may be given to `@app.task` for this base class: everything it has or its decorator takes."""
    return OPTIONS | OWN_OPTIONS | {name for name in dir(task_class) if not name.startswith("_")}


def check_option_names(
    task: str, options: Iterable[str], known: Container[str], policy: Policy = "safe", *, settable: Iterable[str] = ()
) -> None:
    """Look for misspelt options of a task; `known` is `known_options` of its base class.

    What is suggested is an option of Celery's or celeriac's, or one of `settable`. Raises `OptionError` under "safe",
    warns under "celery".
    """
    candidates = SETTABLE | OPTIONS | OWN_OPTIONS | frozenset(settable)
    for option in options:
        right = METHODS.get(option) or (None if option in known else _right_option(option, candidates))
        if right is not None:
            error = OptionError(
                task, option, f"there is no such option, and it would be ignored; did you mean {right}?"
            )
            _raise_or_warn(error, policy)


def _right_option(option: str, candidates: Iterable[str]) -> str | None:
    if option in _MEANT or len(option) < _SHORT:
        return _MEANT.get(option)
    return _nearest(option, candidates, OPTION_CUTOFF)


def _raise_or_warn(error: Exception, policy: Policy) -> None:
    if policy == "safe":
        raise error
    warnings.warn(str(error), MisspeltNameWarning, stacklevel=3)
