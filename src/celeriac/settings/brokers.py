"""What brokers are there, and what each guarantees; which result backends go with one."""

from __future__ import annotations

from dataclasses import dataclass

from celeriac.errors import SettingsError
from celeriac.settings.urls import SETTING, absolute_url, is_redis_store, is_sqlite, redis_store_url, shown_url

#: The schemes of celeriac's own stores.
SERVED = frozenset({"sqlite", "postgresql", "redis+streams"})
#: The schemes of kombu's own client for RabbitMQ.
PYAMQP = frozenset({"amqp", "amqps", "pyamqp"})
_AMQP = PYAMQP | {"librabbitmq"}
#: Result backends that take a broker's queues for theirs.
_IN_QUEUES = frozenset({"rpc", "amqp"})
_REDIS = frozenset({"redis", "rediss", "sentinel"})
#: What kombu has with a `+` itself.
_SOCKETS = frozenset({"redis+socket", "rediss+socket"})
_DATABASES = frozenset({"postgresql", "postgres", "sqlite"})
_ALIASES = {
    "postgres": "postgresql",
    "py-amqp": "pyamqp",
    **dict.fromkeys(("rediss+streams", "redis-streams", "rediss-streams"), "redis+streams"),
}


@dataclass(frozen=True, slots=True)
class BrokerCapabilities:
    """What a broker guarantees.

    `renews`: a living worker keeps its message however long the task runs. `counts_deliveries`: a message that kills
    its worker can be told from one that was delivered for the first time. `quorum`: its queues are RabbitMQ's quorum
    queues. `ledger`: the URL of the ledger beside it, which leases and counts for a broker that does not.
    """

    scheme: str
    renews: bool = False
    counts_deliveries: bool = False
    quorum: bool = False
    url: str = ""
    ledger: str = ""

    @property
    def ours(self) -> bool:
        """Whether celeriac's own transport serves it."""
        return self.scheme in SERVED

    @property
    def hands_out_unsafely(self) -> bool:
        """Whether a message is the broker's no more before its worker has it: Redis's lists, as kombu reads them."""
        return self.scheme in _REDIS

    @property
    def recorded(self) -> bool:
        """Whether a ledger knows what is delivered and what became of it: the broker's own, or one beside it."""
        return self.scheme in SERVED or bool(self.ledger)

    @property
    def late_acks(self) -> bool:
        """Whether acknowledging after the task neither repeats a long task nor loops on a deadly one."""
        return (self.renews and self.counts_deliveries) or bool(self.ledger)


def capabilities_of(url: object, *, quorum: bool = False, ledger: str = "") -> BrokerCapabilities:
    """What the broker behind a URL, or a transport name, guarantees.

    Of several URLs, in a list or parted by `;`, the first counts. `quorum` is whether `task_default_queue_type` says
    so; `ledger` is the URL of the ledger beside it. Raises `SettingsError` as `check_scheme` does.
    """
    text = first_url(url)
    check_scheme(text)
    scheme = text.partition(":")[0].lower()
    scheme = _ALIASES.get(scheme, scheme)
    if scheme in SERVED:
        return BrokerCapabilities(scheme, renews=True, counts_deliveries=True, url=text)
    if scheme in _AMQP:
        # A message stays with its connection; only quorum queues count how often it was delivered.
        return BrokerCapabilities(scheme, renews=True, counts_deliveries=quorum, quorum=quorum, url=text, ledger=ledger)
    return BrokerCapabilities(scheme, url=text, ledger=ledger)


def check_scheme(url: str, setting: str = SETTING) -> None:
    """Refuse what kombu would take for the scheme before the `+`, with the rest for a host.

    Raises:
        SettingsError: with what to write instead.
    """
    scheme = url.partition(":")[0].lower()
    base, plus, rest = scheme.partition("+")
    if not plus or scheme in _ALIASES or scheme in SERVED or scheme in _SOCKETS:
        return
    if base in ("redis", "rediss"):
        raise SettingsError(
            setting,
            f"there is no {scheme}://. Write {base}+streams://… for celeriac's own store in a Redis, or {base}://… for "
            "Celery's transport",
        )
    if base in _DATABASES:
        raise SettingsError(
            setting,
            f"there is no {scheme}://. Write {base}://…, without {plus}{rest}: the client is celeriac's to choose",
        )


def check_result_backend(broker_url: object, backend: object) -> None:
    """Refuse a backend that no settlement could reach: another file, other keys, or queues of a broker of another kind.

    Raises:
        SettingsError: with what to write instead.
    """
    scheme = str(backend or "").partition(":")[0]
    broker = first_url(broker_url)
    if scheme == "sqlite" and is_sqlite(broker) and absolute_url(str(backend)) != absolute_url(broker):
        raise SettingsError(
            "result_backend",
            f"{backend} is another file than the broker's, {broker}, and what has run is recorded there. Leave it out",
        )
    if is_redis_store(broker) and is_redis_store(backend) and redis_store_url(broker) != redis_store_url(str(backend)):
        there, here = redis_store_url(str(backend)).shown, redis_store_url(broker).shown
        raise SettingsError(
            "result_backend",
            f"{there} is another store than the broker's, {here}, and what has run is recorded there. Leave it out",
        )
    if scheme in _IN_QUEUES and capabilities_of(broker_url).ours:
        raise SettingsError(
            "result_backend",
            f"{scheme}:// keeps results in queues of an AMQP broker, and the broker is {shown_url(broker)}. Leave "
            "it out: results are then kept beside the queue, in one transaction with it",
        )


def first_url(url: object) -> str:
    """Of several URLs, in a list or parted by `;`, the first."""
    if isinstance(url, (list, tuple)):
        url = url[0] if url else ""
    # Celery's own default where nothing is set.
    return str(url or "amqp://").split(";")[0].strip()
