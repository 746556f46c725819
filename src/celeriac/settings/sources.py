"""Where a setting comes from: the documented order, and the answer for a given app."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celeriac.settings.names import KNOWN
from celeriac.settings.own import OWN_NAMES
from celeriac.settings.policy import PolicyDefaults
from celeriac.settings.urls import shown_url


class Source(NamedTuple):
    """One place a setting can be given in, and an example of it."""

    name: str
    example: str
    remark: str


#: The first that says something wins.
PRECEDENCE: tuple[Source, ...] = (
    Source(
        "environment",
        "CELERY_BROKER_URL=sqlite:///shop.db",
        "Celery's CELERY_BROKER_URL, CELERY_BROKER_READ_URL, CELERY_BROKER_WRITE_URL and CELERY_RESULT_BACKEND, which "
        "app.conf.broker_url shows and app.conf['broker_url'] does not; and every setting of celeriac's own, such as "
        "CELERIAC_LEASE_SECONDS.",
    ),
    Source(
        "attribute", "app.conf.task_time_limit = 60", "Before or after the configuration is read; the last one wins."
    ),
    Source("keyword", 'Celery("shop", task_time_limit=60)', "The same place as an attribute, filled first."),
    Source(
        "add_defaults", "app.add_defaults({...})", "Celery ranks it above the configuration object, despite its name."
    ),
    Source(
        "configuration object",
        'app.config_from_object("shop.celeryconfig")',
        "The last one given. With namespace='CELERY' keys begin with CELERY_, celeriac's own with CELERY_CELERIAC_.",
    ),
    Source("celeriac's default", 'Celery("shop", defaults="safe")', "The policy table."),
    Source("Celery's default", "", "Celery's documentation."),
)
ENVIRONMENT, ATTRIBUTE, _KEYWORD, ADD_DEFAULTS, OBJECT, OURS, CELERYS = (source.name for source in PRECEDENCE)
#: Celery keeps keyword and attribute in one mapping, which does not tell them apart afterwards.
GIVEN = f"{_KEYWORD} or {ATTRIBUTE}"

_VARIABLES = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}
#: Any of them says where messages go.
_BROKERS = ("broker_url", "broker_read_url", "broker_write_url", "broker_host", "broker_transport")
_SECRET = ("password", "secret", "access_key", "security_key", "credential", "auth_kwargs")


class Explained(NamedTuple):
    """A setting that is not at Celery's default; passwords are masked."""

    setting: str
    value: Any
    source: str
    reason: str


def names_a_broker(user_sets: Callable[[str], bool], environ: Mapping[str, str] | None = None) -> bool:
    """Whether the user says where messages go; `user_sets` tells of a setting whether he gives it."""
    environ = os.environ if environ is None else environ
    return any(environ.get(_VARIABLES.get(name, "")) or user_sets(name) for name in _BROKERS)


def default_broker(main: str | None) -> str:
    """The URL of the file that an app without a broker uses: in the working directory, named after the app."""
    name = "" if main == "__main__" else re.sub(r"[^\w.-]+", "-", main or "").strip("-.")
    return f"sqlite:///{name or 'celeriac'}.db"


def explain(app: Any, environ: Mapping[str, str] | None = None) -> list[Explained]:
    """Each setting that is not at Celery's own default: its value, which source won, and, where it is celeriac, why."""
    environ = os.environ if environ is None else environ
    conf = app.conf
    conf.broker_url  # noqa: B018  the first access reads the configuration
    found = (_explained(app, name, environ) for name in sorted(KNOWN.new))
    return [line for line in found if line is not None]


def _explained(app: Any, name: str, environ: Mapping[str, str]) -> Explained | None:
    variable = name.upper() if name in OWN_NAMES else _VARIABLES.get(name)
    if variable is not None and environ.get(variable):
        return Explained(name, _shown(name, environ[variable]), ENVIRONMENT, f"{variable} is set")
    keys = app.conf._to_keys(name)  # noqa: SLF001  the forms it can be written in: new, old, with the namespace
    for place, mapping in enumerate(app.conf.maps):
        key = next((key for key in keys if key in mapping), None)
        if key is not None:
            source = _source(app, place, mapping)
            reason = mapping.reasons.get(key, "") if isinstance(mapping, PolicyDefaults) else ""
            return None if source == CELERYS else Explained(name, _shown(name, mapping[key]), source, reason)
    return None


def _source(app: Any, place: int, mapping: Mapping[str, Any]) -> str:
    if place == 0:
        return GIVEN
    if isinstance(mapping, PolicyDefaults):
        return OURS
    if place == len(app.conf.maps) - 1:
        return CELERYS
    # Celery's own defaults are last; ours stand just above them, and above those the object that was read.
    below = sum(isinstance(later, PolicyDefaults) for later in app.conf.maps[place + 1 :]) + 1
    return OBJECT if place == len(app.conf.maps) - 1 - below else ADD_DEFAULTS


def _shown(name: str, value: Any) -> Any:
    if any(word in name for word in _SECRET) and value is not None:
        return "********"
    return _urls_shown(value)


def _urls_shown(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_urls_shown(one) for one in value) if type(value) in (list, tuple) else value
    return shown_url(value) if isinstance(value, str) and "://" in value else value
