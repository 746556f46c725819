from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.app.defaults import NAMESPACES, SETTING_KEYS

from celeriac.errors import OptionError, SettingsError
from celeriac.settings import check_environment, check_names, check_option_names
from celeriac.settings.names import (
    KNOWN,
    OPTIONS,
    OWN_OPTIONS,
    SETTABLE,
    MisspeltNameWarning,
    known_options,
    misspelt_settings,
)
from celeriac.settings.own import OWN_NAMES


@pytest.mark.parametrize(
    ("key", "namespace", "right"),
    [
        ("task_ack_late", None, "task_acks_late"),
        ("task_acks_lates", None, "task_acks_late"),
        ("worker_prefetch_multipler", None, "worker_prefetch_multiplier"),
        ("worker_concurency", None, "worker_concurrency"),
        ("task_time_limits", None, "task_time_limit"),
        ("result_expire", None, "result_expires"),
        ("broker_conection_retry", None, "broker_connection_retry"),
        ("beat_schedules", None, "beat_schedule"),
        ("task_queue", None, "task_queues"),
        ("celeriac_lease_second", None, "celeriac_lease_seconds"),
        ("CELERY_IDEMPOTENCY_TTL", "CELERY", "CELERY_CELERIAC_IDEMPOTENCY_TTL"),
        ("celeriac_idempotancy_ttl", None, "celeriac_idempotency_ttl"),
        ("Task_Acks_Late", None, "task_acks_late"),
        ("CELERY_ACK_LATE", None, "task_acks_late"),
        ("CELERYD_PREFETCH_MULTIPLER", None, "worker_prefetch_multiplier"),
        ("BROKER_TRANSPORT_OPTION", None, "broker_transport_options"),
        ("CELERY_TASK_ACK_LATE", "CELERY", "CELERY_TASK_ACKS_LATE"),
        ("CELERY_task_acks_late", "CELERY", "CELERY_TASK_ACKS_LATE"),
        ("CELERY_ACK_LATE", "CELERY", "CELERY_TASK_ACKS_LATE"),
        ("CELERY_TIME_ZONE", "CELERY_", "CELERY_TIMEZONE"),
        ("CELERY_CELERIAC_LEASE_SECOND", "CELERY", "CELERY_CELERIAC_LEASE_SECONDS"),
        ("shop_task_ack_late", "shop", "shop_task_acks_late"),
        ("CELERIAC_LEASE_SECOND", None, "CELERIAC_LEASE_SECONDS"),
        ("CELERIAC_LEASE_SECOND", "CELERY", "CELERIAC_LEASE_SECONDS"),
    ],
)
def test_a_setting_named_almost_like_a_known_one(key: str, namespace: str | None, right: str) -> None:
    assert misspelt_settings([key], namespace=namespace) == {key: right}
    with pytest.raises(SettingsError, match=re.escape(f"setting {key}: there is no such setting")) as caught:
        check_names([key], "safe", namespace=namespace)
    assert str(caught.value).endswith(f"did you mean {right}?")
    with pytest.warns(MisspeltNameWarning, match=re.escape(f"did you mean {right}?")):
        check_names([key], "celery", namespace=namespace)


@pytest.mark.parametrize(
    ("keys", "namespace"),
    [
        # plug-ins
        (["redbeat_redis_url", "redbeat_key_prefix", "redbeat_lock_timeout", "ONCE", "flower_basic_auth"], None),
        (["DJANGO_CELERY_BEAT_TZ_AWARE", "DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH", "CELERY_ONCE"], None),
        (["CELERY_REDBEAT_REDIS_URL", "CELERY_EMAIL_TASK_CONFIG", "CELERY_HIJACK_ME"], "CELERY"),
        # the rest of a module that holds more than Celery's settings
        (["DATABASE_URL", "REDIS_HOST", "REDIS_HOSTS", "TIME_ZONE", "S3_BUCKETS", "SECRET_KEY", "INCLUDE"], None),
        (
            ["TASK_ACK_LATE", "SHOP_X_TASK_ACK_LATE", "DATABASES", "TIME_ZONE", "task_ack_late", "INSTALLED_APPS"],
            "CELERY",
        ),
        (
            ["database_urls", "redis_hosts", "time_zone", "includes", "os", "timedelta", "__name__", "_task_ack_late"],
            None,
        ),
        # no text
        ([1, None, ("task_ack_late",)], None),
        # known ones
        ([name.upper() for name in OWN_NAMES], None),
        ([name.upper() for name in OWN_NAMES], "CELERY"),
        (sorted(SETTING_KEYS), None),
        (sorted(KNOWN.old), None),
        ([f"CELERY_{key.upper()}" for key in SETTING_KEYS], "CELERY"),
        (sorted(key for key in KNOWN.old if key.startswith("CELERY")), "CELERY"),
    ],
)
def test_other_names_pass(keys: list[object], namespace: str | None) -> None:
    assert misspelt_settings(keys, namespace=namespace) == {}
    check_names(keys, "safe", namespace=namespace)


def test_what_celery_reads_without_declaring_it_passes() -> None:
    """Its back ends ask for settings that are in no table."""
    folder = Path(inspect.getfile(celery)).parent
    asked = re.compile(r"\b(?:_get|conf\.get)\(\s*['\"]([a-z0-9_]+)['\"]")
    names = {name for source in folder.rglob("*.py") for name in asked.findall(source.read_text())}
    assert len(names) > 20
    assert names <= KNOWN.new


def test_the_old_names_are_celerys() -> None:
    assert KNOWN.old["CELERY_ACKS_LATE"] == "task_acks_late"
    assert KNOWN.old["BROKER_URL"] == "broker_url"
    assert set(KNOWN.old.values()) <= SETTING_KEYS
    assert "acks_late" in NAMESPACES["task"]


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment(environ={"CELERIAC_LEASE_SECONDS": "9", "CELERIAC_HOME": "/x", "TASK_ACK_LATE": "1"})
    monkeypatch.setenv("CELERIAC_MAX_CRASH", "5")
    with pytest.raises(SettingsError, match=r"setting CELERIAC_MAX_CRASH: .*did you mean CELERIAC_MAX_CRASHES"):
        check_environment()
    with pytest.warns(MisspeltNameWarning):
        check_environment("celery")


def test_every_misspelt_name_is_warned_of() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_names(["task_ack_late", "worker_concurency"], "celery")
    assert len(caught) == 2


class WithOwnOptions(celery.Task):  # type: ignore[misc]
    def on_failure(self, *_: object) -> None: ...

    idempotancy_key = "mine"


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("retry_backof", "retry_backoff"),
        ("retry_backof_max", "retry_backoff_max"),
        ("retry_jiter", "retry_jitter"),
        ("idempotancy_key", "idempotency_key"),
        ("idempotency_tll", "idempotency_ttl"),
        ("max_retry", "max_retries"),
        ("max_retires", "max_retries"),
        ("retrys", "retries"),
        ("retry", "retries"),
        ("auto_retry_for", "autoretry_for"),
        ("autoretry_on", "autoretry_for"),
        ("ack_late", "acks_late"),
        ("time_limits", "time_limit"),
        ("soft_timelimit", "soft_time_limit"),
        ("ignore_results", "ignore_result"),
        ("rate_limits", "rate_limit"),
        ("serialiser", "serializer"),
        ("durible", "durable"),
    ],
)
def test_an_option_named_almost_like_a_known_one(option: str, right: str) -> None:
    known = known_options(celery.Task)
    with pytest.raises(OptionError) as caught:
        check_option_names("shop.charge", [option], known)
    assert str(caught.value).startswith(f"task shop.charge, option {option}: ")
    assert str(caught.value).endswith(f"did you mean {right}?")
    with pytest.warns(MisspeltNameWarning, match=f"did you mean {right}"):
        check_option_names("shop.charge", [option], known, "celery")


def test_other_options_pass() -> None:
    others = [
        "tenant",
        "owner",
        "alert_channel",
        "on_commit",
        "sentry_tags",
        "unique_on",
        "lock_expiry",
        "singleton",
        "shard",
    ]
    check_option_names("shop.charge", [*others, *OPTIONS, *OWN_OPTIONS, *SETTABLE], known_options(celery.Task))


def test_what_the_base_class_has_is_known() -> None:
    check_option_names("shop.charge", ["idempotancy_key"], known_options(WithOwnOptions))


def test_a_plug_ins_options_can_be_suggested() -> None:
    with pytest.raises(OptionError, match="did you mean unique_key"):
        check_option_names("t", ["unique_keys"], known_options(celery.Task), settable=["unique_key"])


def test_celerys_own_decorator_takes_all_of_them() -> None:
    """Each name in the table is one that Celery does something with."""
    app = celery.Celery("shop", set_as_current=False)
    source = "".join(
        inspect.getsource(module)
        for module in (celery.app.base, celery.app.task, celery.app.autoretry, celery.app.amqp, celery.app)
    )
    assert [name for name in OPTIONS if not re.search(rf"\b{name}\b", source)] == []

    def charge() -> None: ...

    task: Any = app.task(max_retries=7, acks_late=True)(charge)
    assert (task.max_retries, task.acks_late) == (7, True)
    assert {"max_retries", "acks_late", "time_limit", "rate_limit", "serializer", "ignore_result"} <= SETTABLE
    assert not SETTABLE & {"apply_async", "delay", "retry", "run"}
