from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.app.defaults import DEFAULTS as CELERYS
from kombu import Queue
from kombu.exceptions import OperationalError

from celeriac.errors import SettingsError
from celeriac.settings import BrokerCapabilities, all_quorum, capabilities_of, declares_queues, defaults_for
from celeriac.settings.policy import DEFAULTS, PolicyDefaults


@pytest.mark.parametrize(
    ("url", "quorum", "scheme", "late_acks", "ours"),
    [
        ("sqlite:///shop.db", False, "sqlite", True, True),
        ("postgresql://db/shop", False, "postgresql", True, True),
        ("postgres://db/shop", False, "postgresql", True, True),
        ("redis+streams://localhost", False, "redis+streams", True, True),
        ("rediss+streams://localhost", False, "redis+streams", True, True),
        ("amqp://localhost", True, "amqp", True, False),
        ("amqp://localhost", False, "amqp", False, False),
        ("amqps://localhost", True, "amqps", True, False),
        ("py-amqp://localhost", True, "pyamqp", True, False),
        ("redis://localhost", False, "redis", False, False),
        ("redis://localhost", True, "redis", False, False),
        ("sentinel://a:1;sentinel://b:2", False, "sentinel", False, False),
        ("sqs://", False, "sqs", False, False),
        ("memory://", False, "memory", False, False),
        ("sqla+sqlite:///x.db", False, "sqla+sqlite", False, False),
        ("sqlite", False, "sqlite", True, True),
        (["sqlite:///a.db", "redis://b"], False, "sqlite", True, True),
        (("amqp://a",), True, "amqp", True, False),
        (None, False, "amqp", False, False),
        ([], False, "amqp", False, False),
        ("", True, "amqp", True, False),
    ],
)
def test_capabilities(url: object, quorum: bool, scheme: str, late_acks: bool, ours: bool) -> None:
    broker = capabilities_of(url, quorum=quorum)
    assert (broker.scheme, broker.late_acks, broker.ours) == (scheme, late_acks, ours)


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("redis+stream://localhost", "redis+streams://"),
        ("rediss+stream://localhost", "rediss+streams://"),
        ("postgresql+psycopg://shop:secret@db/shop", "postgresql://"),
        ("postgresql+asyncpg://shop:secret@db/shop", "postgresql://"),
        ("sqlite+aiosqlite:///shop.db", "sqlite://"),
    ],
)
def test_a_scheme_that_is_almost_one_is_refused(url: str, instead: str) -> None:
    """kombu takes `redis+stream://there` for a Redis on this host, and `postgresql+psycopg://` is SQLAlchemy's."""
    with pytest.raises(SettingsError, match=re.escape(f"Write {instead}")) as refused:
        capabilities_of(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis+socket:///run/redis.sock", "sqla+postgresql://db/shop", "REDIS+STREAMS://localhost"]
)
def test_other_schemes_with_a_plus_stay_what_they_are(url: str) -> None:
    assert capabilities_of(url).scheme


#: What each policy sets on each broker, to the letter: a change here is a change for every user.
BOUNDED = {"broker_pool_acquire_timeout": 10.0}
ALWAYS = {
    **BOUNDED,
    "task_soft_time_limit": 29 * 60.0,
    "task_time_limit": 30 * 60.0,
    "worker_proc_alive_timeout": 30.0,
    "broker_connection_retry_on_startup": True,
}
LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True}
OURS = {"task_track_started": True, "worker_prefetch_multiplier": 1}
WAITS = {"broker_transport_options": {"socket_timeout": 4.0, "socket_connect_timeout": 4.0, "socket_keepalive": True}}
CANCEL = {"worker_cancel_long_running_tasks_on_connection_loss": True}
CONFIRMED = {
    "broker_transport_options": {"confirm_publish": True},
    "broker_heartbeat": 30.0,
    "task_publish_retry_policy": {
        "max_retries": 10,
        "interval_start": 0.1,
        "interval_step": 0.3,
        "interval_max": 1.0,
    },
}
QUEUES = {
    "task_default_queue_type": "quorum",
    "task_create_missing_queue_type": "quorum",
    "task_default_exchange": "celeriac",
    "task_default_exchange_type": "topic",
}
FILE = {"result_backend": "sqlite:////srv/shop.db"}
SCHEMA = {"result_backend": "postgresql://db/shop"}
KEYS = {"result_backend": "redis+streams://localhost"}


@pytest.mark.parametrize(
    ("url", "quorum", "safe", "as_celery"),
    [
        ("sqlite:////srv/shop.db", False, {**ALWAYS, **LATE, **OURS, **FILE}, {**BOUNDED, **FILE}),
        ("postgresql://db/shop", False, {**ALWAYS, **LATE, **OURS, **SCHEMA}, {**BOUNDED, **SCHEMA}),
        ("redis+streams://localhost", False, {**ALWAYS, **LATE, **OURS, **KEYS}, {**BOUNDED, **KEYS}),
        ("amqp://localhost", True, {**ALWAYS, **LATE, **CANCEL, **CONFIRMED}, BOUNDED),
        ("amqps://localhost", False, {**ALWAYS, **CONFIRMED}, BOUNDED),
        ("librabbitmq://localhost", False, ALWAYS, BOUNDED),
        ("redis://localhost", False, {**ALWAYS, **WAITS}, {**BOUNDED, **WAITS}),
        ("sqs://", False, ALWAYS, BOUNDED),
    ],
)
def test_what_each_policy_sets(url: str, quorum: bool, safe: dict[str, Any], as_celery: dict[str, Any]) -> None:
    broker = capabilities_of(url, quorum=quorum)
    assert defaults_for("safe", broker) == safe
    assert defaults_for("celery", broker) == as_celery


def test_rabbitmqs_queues_are_of_celeriacs_kind_where_they_are_its_to_declare() -> None:
    broker = capabilities_of("amqp://localhost", quorum=True)
    plain = defaults_for("safe", broker)
    assert defaults_for("safe", broker, declares_queues=True) == {**plain, **QUEUES}


@pytest.mark.parametrize(
    ("policy", "url", "sets", "declares"),
    [
        ("safe", "amqp://localhost", "task_serializer", True),
        ("safe", "amqps://a;amqps://b", "", True),
        ("celery", "amqp://localhost", "", False),
        ("safe", "librabbitmq://localhost", "", False),
        ("safe", "redis://localhost", "", False),
        ("safe", "amqp://localhost", "task_default_queue_type", False),
        ("safe", "amqp://localhost", "task_queues", False),
        ("safe", "amqp://localhost", "task_queue_max_priority", False),
    ],
)
def test_whose_rabbitmqs_queues_are(policy: Any, url: str, sets: str, declares: bool) -> None:
    assert declares_queues(policy, url, lambda name: name == sets) is declares


QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("queues", "all_are"),
    [
        ([Queue("a", queue_arguments=QUORUM)], True),
        ([Queue("a", queue_arguments=QUORUM), Queue("b")], False),
        ([Queue("a", queue_arguments={"x-queue-type": "classic"})], False),
        ({"a": {"queue_arguments": QUORUM}}, True),
        ({"a": {"queue_arguments": QUORUM}, "b": {}}, False),
    ],
)
def test_declared_queues_are_quorum_queues_where_all_are(queues: Any, all_are: bool) -> None:
    assert all_quorum(queues) is all_are


@pytest.mark.parametrize("url", ["redis://localhost", "amqp://localhost", "sqs://"])
@pytest.mark.parametrize("quorum", [True, False])
def test_a_ledger_leases_and_counts_for_any_broker(url: str, quorum: bool) -> None:
    broker = capabilities_of(url, quorum=quorum, ledger="postgresql://db/shop")
    safe, as_celery = defaults_for("safe", broker), defaults_for("celery", broker)
    assert safe.items() >= {**LATE, **SCHEMA, "task_track_started": True}.items()
    assert not safe.keys() & {*CANCEL, "worker_prefetch_multiplier"}
    assert as_celery.items() >= {**SCHEMA, "worker_enable_prefetch_count_reduction": False}.items()
    assert not as_celery.keys() & LATE.keys()


def test_missing_queues_are_refused_only_where_queues_are_declared() -> None:
    broker = capabilities_of("sqlite:///x.db")
    assert defaults_for("safe", broker, queues_declared=True)["task_create_missing_queues"] is False
    assert "task_create_missing_queues" not in defaults_for("safe", broker)
    assert "task_create_missing_queues" not in defaults_for("celery", broker, queues_declared=True)


def test_the_results_are_in_the_file_the_broker_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = defaults_for("safe", capabilities_of("sqlite:///shop.db?synchronous=full"))
    assert chosen["result_backend"] == f"sqlite:///{tmp_path.resolve()}/shop.db?synchronous=full"


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row.setting)
def test_each_row_changes_a_setting_of_celerys_and_says_why(row: Any) -> None:
    assert row.setting in CELERYS
    assert CELERYS[row.setting] != row.value
    assert row.reason.endswith(".")
    assert len(row.reason) < 120
    assert sum((other.setting, other.when) == (row.setting, row.when) for other in DEFAULTS) == 1


def test_each_value_comes_with_its_reason() -> None:
    chosen = defaults_for("safe", capabilities_of("sqlite:///x.db"))
    assert chosen.reasons.keys() == chosen.keys()


def test_values_are_not_shared() -> None:
    broker = BrokerCapabilities("redis")
    defaults_for("safe", broker)["broker_transport_options"]["socket_timeout"] = 99
    assert defaults_for("safe", broker)["broker_transport_options"]["socket_timeout"] == 4.0


class WithDefaults(celery.Celery):  # type: ignore[misc]
    """An app whose defaults stand just above Celery's."""

    def _load_config(self) -> Any:
        conf = super()._load_config()
        chosen = defaults_for("safe", capabilities_of(conf.broker_url))
        conf.maps.insert(len(conf.maps) - 1, chosen)
        conf.defaults.insert(len(conf.defaults) - 1, chosen)
        return conf


def make(**settings: Any) -> Any:
    return WithDefaults("shop", set_as_current=False, **{"broker": "sqlite:////srv/shop.db", **settings})


def test_a_default_holds_where_nothing_is_set() -> None:
    app = make()
    assert app.conf.task_acks_late is True
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.result_backend == "sqlite:////srv/shop.db"
    assert isinstance(app.conf.maps[-2], PolicyDefaults)


@pytest.mark.parametrize(
    "given",
    [
        {"task_time_limit": 5, "task_acks_late": False},
        {"CELERYD_TASK_TIME_LIMIT": 5, "CELERY_ACKS_LATE": False},
    ],
)
def test_what_the_user_sets_wins_however_it_is_given(given: dict[str, Any]) -> None:
    by_object = make()
    by_object.config_from_object(given)
    assert (by_object.conf.task_time_limit, by_object.conf.task_acks_late) == (5, False)
    by_keyword = make(task_time_limit=5, task_acks_late=False)
    by_attribute = make()
    by_attribute.conf.task_time_limit, by_attribute.conf.task_acks_late = 5, False
    late = make()
    assert late.conf.task_acks_late is True
    late.conf.update(task_time_limit=5, task_acks_late=False)
    for app in (by_keyword, by_attribute, late):
        assert (app.conf.task_time_limit, app.conf.task_acks_late) == (5, False)


def test_a_namespace_wins_too() -> None:
    app = make()
    app.config_from_object({"CELERY_TASK_TIME_LIMIT": 5, "OTHER": 1}, namespace="CELERY")
    assert app.conf.task_time_limit == 5
    assert app.conf.task_soft_time_limit == 29 * 60


@contextlib.contextmanager
def _black_hole() -> Iterator[int]:
    """Takes connections and never says a word."""
    taken: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in taken:
                client.close()


def test_publishing_to_a_silent_redis_ends() -> None:
    pytest.importorskip("redis")
    options = defaults_for("celery", capabilities_of("redis://localhost"))["broker_transport_options"]
    assert options["socket_timeout"] < 10  # else the rest would wait for ever
    with _black_hole() as port:
        app = celery.Celery("shop", set_as_current=False, broker=f"redis://127.0.0.1:{port}")
        app.conf.update(task_ignore_result=True, broker_transport_options=options)
        with pytest.raises(OperationalError, match="Timeout"):
            app.send_task("shop.charge")
    app.close()
