"""The default policy: what celeriac sets where the user sets nothing, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from celeriac.settings.brokers import PYAMQP, BrokerCapabilities, capabilities_of
from celeriac.settings.urls import absolute_url

Policy = Literal["safe", "celery"]
SAFE: frozenset[Policy] = frozenset({"safe"})
BOTH: frozenset[Policy] = frozenset({"safe", "celery"})

#: Settings that say of which kind queues are; classic ones alone have ten priorities.
_OF_QUEUES = ("task_default_queue_type", "task_queues", "task_queue_max_priority")


def declares_queues(policy: Policy, url: object, user_sets: Callable[[str], bool]) -> bool:
    """Whether RabbitMQ's queues are celeriac's to declare: the user says nothing of their kind."""
    ours = capabilities_of(url).scheme in PYAMQP and policy in SAFE
    return ours and not any(user_sets(name) for name in _OF_QUEUES)


class Facts(NamedTuple):
    """What a default can depend on."""

    broker: BrokerCapabilities
    queues_declared: bool
    broker_named: bool
    declares_queues: bool


@dataclass(frozen=True, slots=True)
class When:
    """A condition and its text for the reference."""

    text: str
    holds: Callable[[Facts], bool]


ALWAYS = When("always", lambda _: True)
NO_BROKER = When("no broker is set", lambda facts: not facts.broker_named)
OURS = When("sqlite, postgresql, redis+streams", lambda facts: facts.broker.ours)
RECORDED = When("sqlite, postgresql, redis+streams, any broker with a ledger", lambda facts: facts.broker.recorded)
LATE_ACKS = When(
    "sqlite, postgresql, redis+streams, quorum queues, any broker with a ledger", lambda facts: facts.broker.late_acks
)
QUORUM = When("quorum queues without a ledger", lambda facts: facts.broker.quorum and not facts.broker.ledger)
AMQP = When("amqp, amqps, pyamqp", lambda facts: facts.broker.scheme in PYAMQP)
UNDECLARED = When(
    f"amqp, amqps, pyamqp, where none of {', '.join(_OF_QUEUES)} is set, or each queue is a celeriac.Queue of no kind",
    lambda facts: facts.declares_queues,
)
REDIS = When("redis, rediss, sentinel", lambda facts: facts.broker.hands_out_unsafely)
BESIDE = When("any other broker with a ledger", lambda facts: bool(facts.broker.ledger))
QUEUES_DECLARED = When("task_queues is set", lambda facts: facts.queues_declared)


@dataclass(frozen=True, slots=True)
class Default:
    """One setting's value, why, on which brokers, and under which policies.

    A callable value is made from the broker; `shown` is what the reference says of it.
    """

    setting: str
    value: Any
    reason: str
    when: When = ALWAYS
    policies: frozenset[Policy] = SAFE
    shown: str = ""

    def value_for(self, broker: BrokerCapabilities) -> Any:
        return self.value(broker) if callable(self.value) else deepcopy(self.value)


def _its_url(broker: BrokerCapabilities) -> str:
    return broker.url


def _ledgers_url(broker: BrokerCapabilities) -> str:
    return absolute_url(broker.ledger or broker.url)


DEFAULTS: tuple[Default, ...] = (
    Default(
        "broker_url",
        _its_url,
        "The first task needs no server: one file in the working directory, named after the app.",
        NO_BROKER,
        shown="sqlite:///<app's name>.db",
    ),
    Default(
        "result_backend",
        _ledgers_url,
        "Results, history and dead letters belong where the messages are: one transaction settles them with the ack.",
        RECORDED,
        BOTH,
        shown="the ledger's URL, which is the broker's where that is a store",
    ),
    Default(
        "broker_pool_acquire_timeout",
        10.0,
        "A web request that waits for ever for a broker connection takes its thread with it.",
        policies=BOTH,
    ),
    Default(
        "broker_transport_options",
        {"socket_timeout": 4.0, "socket_connect_timeout": 4.0, "socket_keepalive": True},
        "delay() on a broker that falls silent ends after a few such waits, instead of never.",
        REDIS,
        BOTH,
    ),
    Default(
        "broker_transport_options",
        {"confirm_publish": True},
        "delay() returns when the broker has the message, and raises where no queue gets it. Options of yours join it.",
        AMQP,
    ),
    Default(
        "broker_heartbeat",
        30.0,
        "A broker that fell silent is noticed within a minute, and so is a worker by it; Celery's takes four.",
        AMQP,
    ),
    Default(
        "task_publish_retry_policy",
        {"max_retries": 10, "interval_start": 0.1, "interval_step": 0.3, "interval_max": 1.0},
        "A broker that restarts is back in seconds; delay() tries again for as long as celeriac_publish_timeout allows.",
        AMQP,
    ),
    Default(
        "task_default_queue_type",
        "quorum",
        "Quorum queues are replicated and count deliveries; a classic one is lost with its node.",
        UNDECLARED,
    ),
    Default(
        "task_create_missing_queue_type",
        "quorum",
        "The same for queues that a route or -Q names.",
        UNDECLARED,
    ),
    Default(
        "task_default_exchange",
        "celeriac",
        "The exchange of Celery's that is named after the queue may exist already, as a direct one.",
        UNDECLARED,
    ),
    Default(
        "task_default_exchange_type",
        "topic",
        "The broker delays what goes through a topic exchange; for a direct one the worker has to hold it in memory.",
        UNDECLARED,
    ),
    Default(
        "task_acks_late",
        True,
        "Acknowledged before it ran, a task is lost with its worker.",
        LATE_ACKS,
    ),
    Default(
        "task_reject_on_worker_lost",
        True,
        "Otherwise a task whose child process was killed is acknowledged as failed; a third crash buries it.",
        LATE_ACKS,
    ),
    Default(
        "task_soft_time_limit",
        29 * 60.0,
        "A minute to clean up before the hard limit.",
    ),
    Default(
        "task_time_limit",
        30 * 60.0,
        "A task that hangs would hold its worker for ever; what takes longer is better cut into parts.",
    ),
    Default(
        "task_track_started",
        True,
        "A running task shows as such and not as PENDING; the mark rides on the settles and costs no write.",
        RECORDED,
    ),
    Default(
        "task_create_missing_queues",
        False,
        "Where queues are declared, a misspelt one would be made and never consumed.",
        QUEUES_DECLARED,
    ),
    Default(
        "worker_prefetch_multiplier",
        1,
        "The store adapts how much is claimed to how long tasks take; what a worker hoards beyond that only waits.",
        OURS,
    ),
    Default(
        "worker_enable_prefetch_count_reduction",
        False,
        "A copy of what runs is found in the ledger; the reduction is undone by threads that deafen RabbitMQ's client.",
        BESIDE,
        BOTH,
    ),
    Default(
        "worker_proc_alive_timeout",
        30.0,
        "A child that takes over 4 seconds to import the project is killed and forked again, without end.",
    ),
    Default(
        "worker_cancel_long_running_tasks_on_connection_loss",
        True,
        "RabbitMQ delivers what was unacknowledged again at once, beside the run that lost its connection.",
        QUORUM,
    ),
    Default(
        "broker_connection_retry_on_startup",
        True,
        "Workers and broker start in any order; said explicitly, since Celery warns where it is not.",
    ),
)


class PolicyDefaults(dict[str, Any]):
    """The settings of a policy, to be put just above Celery's defaults; `reasons` holds each one's sentence."""

    def __init__(self, chosen: dict[str, Any] | None = None, reasons: dict[str, str] | None = None) -> None:
        super().__init__(chosen or {})
        self.reasons = reasons or {}

    def become(self, other: PolicyDefaults) -> None:
        """Take the other's place where this one already stands in a configuration."""
        self.clear()
        self.update(other)
        self.reasons = other.reasons


def defaults_for(
    policy: Policy,
    broker: BrokerCapabilities,
    *,
    queues_declared: bool = False,
    broker_named: bool = True,
    declares_queues: bool = False,
) -> PolicyDefaults:
    """What the policy sets for this broker.

    `queues_declared`: whether the user sets `task_queues`; `broker_named`: whether he names a broker;
    `declares_queues`: what the function of that name says.
    """
    facts = Facts(broker, queues_declared, broker_named, declares_queues)
    chosen = [row for row in DEFAULTS if policy in row.policies and row.when.holds(facts)]
    values = {row.setting: row.value_for(broker) for row in chosen}
    return PolicyDefaults(values, {row.setting: row.reason for row in chosen})
