"""What is configured, where it comes from, and why its default is what it is."""

from celeriac.settings.brokers import PYAMQP, BrokerCapabilities, capabilities_of, check_result_backend, first_url
from celeriac.settings.ledger import copies_come_for, ledger_beside, on_one_host_only
from celeriac.settings.names import check_environment, check_names, check_option_names
from celeriac.settings.own import OwnSettings, read_own
from celeriac.settings.policy import Default, Policy, PolicyDefaults, declares_queues, defaults_for
from celeriac.settings.queues import all_quorum, undeclared_queue
from celeriac.settings.reference import defaults_reference
from celeriac.settings.sources import PRECEDENCE, default_broker, explain, names_a_broker
from celeriac.settings.urls import (
    PostgresURL,
    RedisURL,
    SQLiteURL,
    absolute_url,
    check_written,
    is_postgres,
    is_redis_store,
    is_sqlite,
    postgres_url,
    redis_store_url,
    shown_url,
    sqlite_url,
    sqlite_url_path,
)

__all__ = [
    "PRECEDENCE",
    "PYAMQP",
    "BrokerCapabilities",
    "Default",
    "OwnSettings",
    "Policy",
    "PolicyDefaults",
    "PostgresURL",
    "RedisURL",
    "SQLiteURL",
    "absolute_url",
    "all_quorum",
    "capabilities_of",
    "check_environment",
    "check_names",
    "check_option_names",
    "check_result_backend",
    "check_written",
    "copies_come_for",
    "declares_queues",
    "default_broker",
    "defaults_for",
    "defaults_reference",
    "explain",
    "first_url",
    "is_postgres",
    "is_redis_store",
    "is_sqlite",
    "ledger_beside",
    "names_a_broker",
    "on_one_host_only",
    "postgres_url",
    "read_own",
    "redis_store_url",
    "shown_url",
    "sqlite_url",
    "sqlite_url_path",
    "undeclared_queue",
]
