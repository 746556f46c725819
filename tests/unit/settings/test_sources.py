"""The documented order of precedence, on Celery itself, and what an app says of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import celery
import pytest

from celeriac import Celery
from celeriac.errors import SettingsError
from celeriac.settings import PRECEDENCE, capabilities_of, defaults_for, explain, read_own
from celeriac.settings.sources import ADD_DEFAULTS, ATTRIBUTE, CELERYS, ENVIRONMENT, GIVEN, OBJECT, OURS, Explained


class WithDefaults(celery.Celery):  # type: ignore[misc]
    def _load_config(self) -> Any:
        conf = super()._load_config()
        chosen = defaults_for("safe", capabilities_of(conf.broker_url))
        conf.maps.insert(len(conf.maps) - 1, chosen)
        conf.defaults.insert(len(conf.defaults) - 1, chosen)
        return conf


def make(**settings: Any) -> Any:
    return WithDefaults("shop", set_as_current=False, **settings)


SETTING = "task_time_limit"
#: How to give the setting in each place of `PRECEDENCE`, but the environment and the defaults.
PLACES = {
    ATTRIBUTE: lambda app, value: app.conf.update({SETTING: value}),
    "keyword": lambda app, value: app._preconf.setdefault(SETTING, value),
    ADD_DEFAULTS: lambda app, value: app.add_defaults({SETTING: value}),
    OBJECT: lambda app, value: app.config_from_object({SETTING: value}),
}


def test_the_order_of_the_places() -> None:
    names = [source.name for source in PRECEDENCE]
    assert names == [ENVIRONMENT, ATTRIBUTE, "keyword", ADD_DEFAULTS, OBJECT, OURS, CELERYS]


@pytest.mark.parametrize("stronger", range(4))
@pytest.mark.parametrize("weaker", range(4))
def test_of_two_places_the_first_in_the_list_wins(stronger: int, weaker: int) -> None:
    order = [source.name for source in PRECEDENCE if source.name in PLACES]
    if stronger >= weaker:
        return
    app = make()
    PLACES[order[stronger]](app, 1)
    PLACES[order[weaker]](app, 2)
    assert app.conf.task_time_limit == 1, f"{order[stronger]} against {order[weaker]}"


def test_a_keyword_is_an_attribute_that_was_set_first() -> None:
    app = make(task_time_limit=1)
    app.config_from_object({SETTING: 2})
    assert app.conf.task_time_limit == 1
    app.conf.task_time_limit = 3
    assert app.conf.task_time_limit == 3


def test_an_attribute_wins_before_and_after_the_object() -> None:
    before, after = make(), make()
    before.conf.task_time_limit = 1
    before.config_from_object({SETTING: 2})
    after.config_from_object({SETTING: 2})
    after.conf.task_time_limit = 1
    assert (before.conf.task_time_limit, after.conf.task_time_limit) == (1, 1)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_wins_over_our_default_and_ours_over_celerys(place: str) -> None:
    app = make()
    PLACES[place](app, 7)
    assert app.conf.task_time_limit == 7
    assert make().conf.task_time_limit == 30 * 60
    assert celery.Celery(set_as_current=False).conf.task_time_limit is None


def test_celerys_environment_variables_win_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://environment")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
    app = make(broker="memory://keyword", backend="rpc://")
    app.config_from_object({"broker_url": "memory://object"})
    app.conf.broker_url = "memory://attribute"
    assert app.conf.broker_url == "memory://environment"
    assert app.conf.result_backend == "cache+memory://"
    # But not for who asks by key, as the documentation of the order says.
    assert app.conf["broker_url"] == "memory://attribute"


def test_our_environment_variables_win_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(celeriac_max_crashes=4)
    assert read_own(app.conf, {}).max_crashes == 4
    monkeypatch.setenv("CELERIAC_MAX_CRASHES", "5")
    assert read_own(app.conf).max_crashes == 5


def explained(app: Any, setting: str, environ: dict[str, str] | None = None) -> Explained | None:
    return next((line for line in explain(app, environ or {}) if line.setting == setting), None)


def test_each_source_is_told() -> None:
    app = make(broker="sqlite:////srv/shop.db", worker_concurrency=3)
    app.add_defaults({"task_default_priority": 4})
    app.config_from_object({"CELERYD_MAX_TASKS_PER_CHILD": 9, "CELERY_IGNORE_RESULT": True})
    app.conf.task_serializer = "json"
    assert explained(app, "broker_url") == ("broker_url", "sqlite:////srv/shop.db", GIVEN, "")
    assert explained(app, "worker_concurrency") == ("worker_concurrency", 3, GIVEN, "")
    assert explained(app, "task_serializer") == ("task_serializer", "json", GIVEN, "")
    assert explained(app, "task_default_priority") == ("task_default_priority", 4, ADD_DEFAULTS, "")
    assert explained(app, "worker_max_tasks_per_child") == ("worker_max_tasks_per_child", 9, OBJECT, "")
    late = explained(app, "task_acks_late")
    assert late is not None
    assert late[:3] == ("task_acks_late", True, OURS)
    assert late.reason == "Acknowledged before it ran, a task is lost with its worker."
    assert explained(app, "worker_hijack_root_logger") is None


def test_a_namespaced_object_is_told() -> None:
    app = make()
    app.config_from_object({"CELERY_WORKER_CONCURRENCY": 3, "CELERY_CELERIAC_MAX_CRASHES": 9}, namespace="CELERY")
    assert explained(app, "worker_concurrency") == ("worker_concurrency", 3, OBJECT, "")
    assert explained(app, "celeriac_max_crashes") == ("celeriac_max_crashes", 9, OBJECT, "")


def test_the_environment_is_told() -> None:
    environ = {"CELERY_BROKER_URL": "redis://:hush@host/0", "CELERIAC_MAX_CRASHES": "5"}
    app = make(broker="memory://")
    broker = explained(app, "broker_url", environ)
    assert broker is not None
    assert broker.source == ENVIRONMENT
    assert broker.reason == "CELERY_BROKER_URL is set"
    assert explained(app, "celeriac_max_crashes", environ) == (
        "celeriac_max_crashes",
        "5",
        ENVIRONMENT,
        "CELERIAC_MAX_CRASHES is set",
    )


def test_an_app_of_celerys_own_can_be_asked() -> None:
    app = celery.Celery(set_as_current=False)
    app.config_from_object({"worker_concurrency": 3})
    assert explain(app, {}) == [("worker_concurrency", 3, OBJECT, "")]


def test_no_password_is_shown(tmp_path: Path) -> None:
    app = make(broker="redis://user:hush@host/0", redis_password="hush", s3_secret_access_key="hush")
    app.conf.security_key_password = b"hush"
    shown = [str(line.value) for line in explain(app, {"CELERY_RESULT_BACKEND": "redis://:hush@host/1"})]
    assert shown
    assert not any("hush" in value for value in shown)
    assert any("host/0" in value for value in shown)


@pytest.mark.parametrize(
    ("main", "file"),
    [
        ("shop", "shop"),
        ("shop.celery", "shop.celery"),
        (None, "celeriac"),
        ("__main__", "celeriac"),
        ("a b/../c", "a-b-..-c"),
    ],
)
def test_an_app_that_names_no_broker_has_a_file(main: str | None, file: str) -> None:
    app = Celery(main, set_as_current=False)
    assert app.conf.broker_url == f"sqlite:///{file}.db"
    assert app.has_store
    assert app.conf.result_backend == f"sqlite:///{Path.cwd()}/{file}.db"
    line = next(line for line in explain(app) if line.setting == "broker_url")
    assert (line.source, line.reason[:14]) == (OURS, "The first task")


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_transport": "memory"},
        {"broker_host": "queue.example"},
        {"BROKER_URL": "redis://queue.example"},
        {"broker_read_url": "redis://queue.example"},
        # A variable that should have been set; a file of one's own would hide it.
        {"broker_url": None},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_an_app_that_names_one_in_any_form_has_none(settings: dict[str, Any]) -> None:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(settings)
    assert not app.has_store


def test_a_broker_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://queue.example")
    assert not Celery("shop", set_as_current=False).has_store


def test_celerys_own_policy_keeps_celerys_own_broker() -> None:
    app = Celery("shop", defaults="celery", set_as_current=False)
    assert app.conf.broker_url is None
    assert app.connection().transport_cls == "amqp"


@pytest.mark.parametrize("policy", ["Safe", "unsafe", "", None, 5])
def test_a_policy_that_is_none_is_refused(policy: Any) -> None:
    with pytest.raises(SettingsError, match=r'neither "safe" nor "celery"'):
        Celery("shop", defaults=policy, set_as_current=False)
