from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import celery
import pytest

from celeriac.core.retries import UNDECLARED
from celeriac.errors import SettingsError
from celeriac.settings import OwnSettings, read_own
from celeriac.settings.own import OWN_NAMES


def test_defaults() -> None:
    own = read_own({}, {})
    assert own == OwnSettings()
    assert (own.lease_seconds, own.renew_seconds, own.max_crashes, own.idempotency_ttl) == (30.0, 10.0, 3, 86_400.0)
    assert (own.dead_letter_expires, own.refuse_unsafe_pickle) == (None, None)


def test_a_dead_workers_tasks_come_back_within_45_seconds() -> None:
    own = OwnSettings()
    assert own.lease_seconds + own.maintenance_seconds <= 45


def test_the_default_retries_are_the_policys() -> None:
    assert OwnSettings().undeclared_retries() == UNDECLARED
    assert OwnSettings(max_retries=9, retry_backoff=1, retry_backoff_max=2).undeclared_retries().max_retries == 9


@pytest.mark.parametrize("own", fields(OwnSettings), ids=lambda own: str(own.name))
def test_each_says_its_unit_and_its_reason(own: Any) -> None:
    assert own.metadata["unit"]
    assert own.metadata["reason"].endswith(".")
    assert read_own({f"celeriac_{own.name}": own.default}, {}) == OwnSettings()


@pytest.mark.parametrize(
    ("conf", "environ", "expected"),
    [
        ({"celeriac_lease_seconds": 60}, {}, 60.0),
        ({"CELERIAC_LEASE_SECONDS": 60}, {}, 60.0),
        ({"celeriac_lease_seconds": timedelta(minutes=1)}, {}, 60.0),
        ({"celeriac_lease_seconds": 60}, {"CELERIAC_LEASE_SECONDS": "90"}, 90.0),
        ({}, {"CELERIAC_LEASE_SECONDS": " 90.5 "}, 90.5),
        ({"celeriac_lease_seconds": 60, "CELERIAC_LEASE_SECONDS": 70}, {}, 60.0),
    ],
)
def test_where_a_value_comes_from(conf: dict[str, Any], environ: dict[str, str], expected: float) -> None:
    assert read_own(conf, environ).lease_seconds == expected


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("0", False), ("False", False), ("none", None), ("", None)])
def test_words_in_the_environment(text: str, value: bool | None) -> None:
    assert read_own({}, {"CELERIAC_REFUSE_UNSAFE_PICKLE": text}).refuse_unsafe_pickle is value


def test_the_environment_is_the_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_MAX_CRASHES", "5")
    assert read_own({}).max_crashes == 5


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("celeriac_lease_seconds", 0, "0 is not a number of seconds, at least 1"),
        ("celeriac_lease_seconds", "60", "'60' is not a number of seconds, at least 1"),
        ("celeriac_lease_seconds", True, "True is not a number"),
        ("celeriac_lease_seconds", float("nan"), "nan is not a number"),
        ("celeriac_lease_seconds", float("inf"), "inf is not a number"),
        ("celeriac_lease_seconds", None, "None is not a number"),
        ("celeriac_max_crashes", 2.5, "2.5 is not a whole number of crashes, at least 1"),
        ("celeriac_max_crashes", 0, "0 is not a whole number"),
        ("celeriac_max_retries", -1, "-1 is not a whole number of retries, at least 0"),
        ("celeriac_dead_letter_expires", 0, "at least 1, or None: for ever"),
        ("celeriac_refuse_unsafe_pickle", "maybe", "'maybe' is neither true nor false"),
        ("CELERIAC_LEASE_SECONDS", 0, "0 is not a number"),
        ("celeriac_renew_seconds", 16, "16 is over half of celeriac_lease_seconds (30), so one late renewal"),
        ("celeriac_retry_backoff", 601, "601 is over celeriac_retry_backoff_max (600)"),
    ],
)
def test_a_value_that_cannot_be_meant_names_the_setting(key: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_own({key: value}, {})
    assert str(caught.value).startswith(f"setting {key}: ")
    assert said in str(caught.value)


def test_an_environment_variable_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match="setting CELERIAC_LEASE_SECONDS: 'soon' is not a number of seconds"):
        read_own({}, {"CELERIAC_LEASE_SECONDS": "soon"})


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({"celeriac_lease_seconds": 60}, None),
        ({"CELERY_CELERIAC_LEASE_SECONDS": 60}, "CELERY"),
        ({"CELERIAC_LEASE_SECONDS": 60}, "CELERY"),
        ({"CELERIAC_LEASE_SECONDS": 60}, None),
    ],
)
def test_they_live_in_celerys_configuration(given: dict[str, Any], namespace: str | None) -> None:
    app = celery.Celery("shop", set_as_current=False)
    app.config_from_object(given, namespace=namespace)
    assert read_own(app.conf, {}).lease_seconds == 60.0


def test_a_keyword_and_an_attribute_work_too() -> None:
    app = celery.Celery("shop", set_as_current=False, celeriac_lease_seconds=60)
    assert read_own(app.conf, {}).lease_seconds == 60.0
    app.conf.celeriac_lease_seconds = 90
    assert read_own(app.conf, {}).lease_seconds == 90.0


def test_their_names_are_all_prefixed() -> None:
    assert {f"celeriac_{own.name}" for own in fields(OwnSettings)} == OWN_NAMES
