"""The reference of all defaults as rows, from which the documentation is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from celery.app.defaults import DEFAULTS as CELERYS

from celeriac.settings.own import PREFIX, OwnSettings
from celeriac.settings.policy import BOTH, DEFAULTS
from celeriac.settings.redis_tls import TLS_OPTIONS
from celeriac.settings.urls import OPTIONS, REDIS_OPTIONS


class Row(NamedTuple):
    """One line of the reference. `group` is the table it belongs in, `instead_of` Celery's own default."""

    group: str
    setting: str
    value: str
    instead_of: str
    when: str
    reason: str


def defaults_reference() -> list[Row]:
    """Every default of celeriac's: of Celery's settings, of its own, and of the options in URLs."""
    return [*_policy(), *_own(), *_options("sqlite", OPTIONS), *_options("redis+streams", REDIS_OPTIONS), *_tls()]


def _policy() -> Iterator[Row]:
    for row in DEFAULTS:
        group = "both policies" if row.policies == BOTH else "safe"
        value = row.shown or repr(row.value)
        yield Row(group, row.setting, value, repr(CELERYS[row.setting]), row.when.text, row.reason)


def _own() -> Iterator[Row]:
    for own in fields(OwnSettings):
        unit = own.metadata["unit"]
        yield Row("own", PREFIX + own.name, _value(own.default, own.metadata), "", unit, own.metadata["reason"])


def _value(default: Any, metadata: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(default) or "none"
    return f"None: {metadata['none']}" if default is None else f"{default:g}"


def _tls() -> Iterator[Row]:
    for option, meaning in TLS_OPTIONS.items():
        yield Row("redis+streams URL", f"?{option}=…", "", "", "rediss+streams", meaning)


def _options(scheme: str, options: dict[str, dict[str, str]]) -> Iterator[Row]:
    for option, values in options.items():
        default, *_ = values
        for value, meaning in values.items():
            group = "default" if value == default else ""
            yield Row(f"{scheme} URL", f"?{option}={value}", group, "", scheme, meaning)
