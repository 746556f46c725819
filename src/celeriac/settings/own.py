"""celeriac's own settings, which live in the same configuration as Celery's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from celeriac.core.retries import Policy, Retries, Undeclared
from celeriac.core.retry_options import policy_of
from celeriac.errors import OptionError, SettingsError

PREFIX = "celeriac_"
DAY = 86_400.0
_MISSING: Any = object()


def _setting(default: Any, unit: str, reason: str, *, least: float = 0.0, none: str = "") -> Any:
    """`none` says what None means, where it may be given."""
    return field(default=default, metadata={"unit": unit, "reason": reason, "least": least, "none": none})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings:
    """Each field is the setting `celeriac_<field>`; its metadata holds unit, reason and bounds."""

    ledger: str | None = _setting(
        None,
        "a URL",
        "Keeps results, keys, history and dead letters where the broker, such as Redis or RabbitMQ, does not.",
        none="the broker, where it is a store of celeriac's; otherwise there is no ledger",
    )
    outbox: bool | None = _setting(
        None,
        "yes or no",
        "Beside another broker every task goes by the ledger, which sends it again when the broker or a dying worker lost it.",
        none='yes under defaults="safe" where the broker is Redis; else what has a key, was used before, or follows a settle',
    )
    relay_again_seconds: float = _setting(
        3600.0,
        "seconds",
        "What the ledger gave to the broker beside it and no worker has taken is sent once more; a second copy is harmless.",
        least=1.0,
    )
    lease_seconds: float = _setting(
        30.0,
        "seconds",
        "How long a silent worker keeps its messages: the wait before a dead one's tasks run elsewhere.",
        least=1.0,
    )
    renew_seconds: float = _setting(
        10.0, "seconds", "A third of the lease, so that one renewal may fail and none is lost.", least=0.1
    )
    max_crashes: int = _setting(
        3, "crashes", "A task under which worker processes die this often is buried, and its neighbours live.", least=1
    )
    idempotency_ttl: float = _setting(
        DAY,
        "seconds",
        "How long a key stays taken after its task succeeded; a day covers the repeats of clients and crons.",
    )
    retries: object = _setting(
        None,
        "as of a task",
        "What a task's `retries=` may be, here for every task that says neither that nor `autoretry_for`.",
        none="what was certainly not done is tried again, at the pace of the next three",
    )
    max_retries: int = _setting(3, "retries", "For tasks that declare nothing: 4 runs, as Celery counts them.")
    retry_backoff: float = _setting(
        5.0,
        "seconds",
        "The longest first wait of such a task, doubled each time: long enough for a service to restart.",
        least=0.01,
    )
    retry_backoff_max: float = _setting(600.0, "seconds", "No wait is longer.", least=0.01)
    publish_timeout: float = _setting(
        10.0, "seconds", "delay() gives up on a store that stays locked or full, and says so.", least=0.1
    )
    warn_of_members: int = _setting(
        100_000,
        "members",
        "A group or chord of more is made whole in memory by Celery, and its results once more.",
        least=1,
    )
    history_expires: float = _setting(
        7 * DAY, "seconds", "How long each attempt's time, worker, error and traceback are kept.", least=1.0
    )
    dead_letter_expires: float | None = _setting(
        None, "seconds", "What gave up stays until it is redriven or purged.", least=1.0, none="for ever"
    )
    revoke_expires: float = _setting(
        30 * DAY, "seconds", "How long a revoked id is refused, for tasks that wait that long.", least=1.0
    )
    maintenance_seconds: float = _setting(
        10.0, "seconds", "How often each worker prunes what expired and reclaims what was orphaned.", least=0.1
    )
    shutdown_grace_seconds: float | None = _setting(
        25.0,
        "seconds",
        "A worker that is asked to end (SIGTERM) does so by then, and hands back what still runs; Kubernetes kills after 30.",
        least=0.0,
        none='what runs is waited for, however long, as under defaults="celery" unless it is set',
    )
    checkpoint_seconds: float = _setting(
        5.0,
        "seconds",
        "How often `self.iterate()` saves where it is, and so how much of a long task a crash repeats.",
        least=0.01,
    )
    give_way_seconds: float | None = _setting(
        300.0,
        "seconds",
        "A task in `self.iterate()` goes to the end of its queue then, so that long tasks do not hold every slot for hours.",
        least=0.01,
        none="it gives way to nobody",
    )
    refuse_unsafe_pickle: bool | None = _setting(
        None,
        "yes or no",
        "Model instances and the like under pickle are stale when the task runs.",
        none='yes under defaults="safe", a warning under defaults="celery"',
    )
    outboxes: tuple[str, ...] = _setting(
        (), "URLs", "Databases whose outboxes this app's workers empty: what `app.transaction()` wrote there is sent."
    )
    local_outbox: str | None = _setting(
        None,
        "a URL",
        "A file (sqlite:///…) that keeps what is published while the broker is away, and from which it is sent later.",
        none="publishing raises BrokerUnavailable",
    )

    def undeclared_retries(self) -> Retries:
        """The policy of a task that declares none."""
        return Undeclared(self.max_retries, backoff=self.retry_backoff, cap=self.retry_backoff_max)

    def declared_retries(self) -> Policy | None:
        """The policy of a task that declares none, where the app declares one."""
        return None if self.retries is None else policy_of("", self.retries, pace=self.undeclared_retries())


OWN_NAMES = frozenset(PREFIX + own.name for own in fields(OwnSettings))


def read_own(conf: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> OwnSettings:
    """The settings as given: by the environment (`CELERIAC_LEASE_SECONDS`), else by `conf`, else the default.

    `conf` is the app's, or any mapping; both `celeriac_lease_seconds` and `CELERIAC_LEASE_SECONDS` are read. Raises
    `SettingsError` for a value that is of the wrong type, out of bounds, or at odds with another.
    """
    environ = os.environ if environ is None else environ
    given = {own.name: _given(own.name, own.metadata, conf, environ) for own in fields(OwnSettings)}
    settings = OwnSettings(**{name: value for name, value in given.items() if value is not _MISSING})
    _check_together(settings)
    return settings


def read_one(name: str, conf: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Any:
    """One of them alone, before the others are known to be right. Raises `SettingsError`, as `read_own`."""
    (own,) = (own for own in fields(OwnSettings) if own.name == name)
    value = _given(name, own.metadata, conf, os.environ if environ is None else environ)
    return own.default if value is _MISSING else value


def _given(name: str, metadata: Mapping[str, Any], conf: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    setting = PREFIX + name
    text = environ.get(setting.upper())
    if text is not None:
        return _checked(setting.upper(), name, _parsed(text), metadata)
    for key in (setting, setting.upper()):
        value = conf.get(key, _MISSING)
        if value is not _MISSING:
            return _checked(key, name, value, metadata)
    return _MISSING


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "none": None, "": None}


def _parsed(text: str) -> object:
    """An environment variable's text as the value it stands for."""
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        number = float(word)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _checked(setting: str, name: str, value: object, metadata: Mapping[str, Any]) -> Any:
    kind = str(OwnSettings.__annotations__[name])
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None and metadata["none"]:
        return None
    if kind == "object":
        return _retries(setting, value)
    if kind.startswith("tuple"):
        return _texts(setting, value)
    if kind.startswith("bool"):
        return _bool(setting, value)
    if kind.startswith("str"):
        return _text(setting, value, metadata)
    return _number(setting, value, metadata, whole=kind.startswith("int"))


def _retries(setting: str, value: object) -> object:
    try:
        policy_of("", value)
    except OptionError as error:
        raise SettingsError(setting, error.problem) from None
    return value


def _texts(setting: str, value: object) -> tuple[str, ...]:
    """Several, or one; in the environment with commas between them."""
    found = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(part, str) for part in found):
        raise SettingsError(setting, f"{type(value).__name__} is not a list of URLs")
    return tuple(found)


def _text(setting: str, value: object, metadata: Mapping[str, Any]) -> str:
    if isinstance(value, str) and value:
        return value
    raise SettingsError(setting, f"{value!r} is not {metadata['unit']}, nor None: {metadata['none']}")


def _bool(setting: str, value: object) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise SettingsError(setting, f"{value!r} is neither true nor false")


def _number(setting: str, value: object, metadata: Mapping[str, Any], *, whole: bool) -> float:
    least, unit = metadata["least"], metadata["unit"]
    wanted = f"a {'whole ' if whole else ''}number of {unit}, at least {least:g}"
    wanted += f", or None: {metadata['none']}" if metadata["none"] else ""
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not least <= value < float("inf"):  # type: ignore[operator]
        raise SettingsError(setting, f"{value!r} is not {wanted}")
    return value if whole else float(value)  # type: ignore[arg-type,return-value]


def _check_together(settings: OwnSettings) -> None:
    if settings.renew_seconds > settings.lease_seconds / 2:
        problem = f"{settings.renew_seconds:g} is over half of celeriac_lease_seconds ({settings.lease_seconds:g})"
        raise SettingsError(
            "celeriac_renew_seconds", f"{problem}, so one late renewal would lose every running task's lease"
        )
    if settings.retry_backoff > settings.retry_backoff_max:
        problem = f"{settings.retry_backoff:g} is over celeriac_retry_backoff_max ({settings.retry_backoff_max:g})"
        raise SettingsError("celeriac_retry_backoff", problem)
