"""The URL of a Redis that holds a store, as kombu, Celery and the client are given it."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import redis
from celery.app import backends
from kombu import Connection

from celeriac import Celery
from celeriac.errors import SettingsError
from celeriac.results.backend import LedgerBackend
from celeriac.settings import is_redis_store, redis_store_url
from celeriac.settings.redis_tls import TLS_OPTIONS
from celeriac.transport.redis import RedisTransport, hyphened, plussed


@pytest.mark.parametrize(
    ("url", "server", "prefix", "durability", "shown"),
    [
        ("redis+streams://db", "redis://db", "celeriac", "always", "redis+streams://db/0"),
        ("redis+streams://db:7000/3", "redis://db:7000/3", "celeriac", "always", "redis+streams://db:7000/3"),
        (
            "rediss+streams://shop:s%40cret@db/0?prefix=shop&durability=EverySec&ssl_cert_reqs=none",
            "rediss://shop:s%40cret@db/0?ssl_cert_reqs=none",
            "shop",
            "everysec",
            "rediss+streams://shop@db/0?prefix=shop",
        ),
        ("redis+streams://:secret@db", "redis://:secret@db", "celeriac", "always", "redis+streams://db/0"),
        ("redis-streams://db/1?prefix=a", "redis://db/1", "a", "always", "redis+streams://db/1?prefix=a"),
    ],
)
def test_the_prefix_is_ours_and_the_rest_is_the_clients(
    url: str, server: str, prefix: str, durability: str, shown: str
) -> None:
    assert is_redis_store(url)
    found = redis_store_url(url)
    assert (found.server, found.prefix, found.durability, found.shown) == (server, prefix, durability, shown)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+streams:///0", "it names no host"),
        ("redis+streams://db:port/0", "its port is no port"),
        ("redis+streams://db/shop", r"the database 'shop' is no number; a prefix is given as \?prefix=shop"),
        ("redis+streams://db?prefix=a{b}", "the prefix 'a{b}' must be"),
        ("redis+streams://db?prefix=", "the prefix '' must be"),
        ("redis+streams://db?prefx=a", "unknown option 'prefx'; did you mean 'prefix'"),
        ("redis+streams://db?durability=often", "durability='often' is none of always, everysec, none"),
        ("redis+streams://db?ssl_ca_certs=/ca.pem", r"'ssl_ca_certs' is about TLS, for which rediss\+streams:// asks"),
        ("redis+streams://db?ssl=true", r"'ssl' is about TLS, for which rediss\+streams:// asks"),
        ("rediss+streams://db?ssl_ca_cert=/ca.pem", "unknown option 'ssl_ca_cert'; did you mean 'ssl_ca_certs'"),
        ("rediss+streams://db?ssl_validate_ocsp=true", "unknown option 'ssl_validate_ocsp'"),
        ("rediss+streams://db?ssl_cert_reqs=maybe", "ssl_cert_reqs='maybe' is none of required, optional, none"),
        ("rediss+streams://db?ssl_min_version=TLSv1_2", "ssl_min_version='TLSv1_2' is no number; 771 is TLS 1.2"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        redis_store_url(url)


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(SettingsError) as caught:
        redis_store_url("redis+streams://shop:secret@db/0?prefx=a")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://db", "rediss://db", "sqlite:///shop.db", "postgresql://db", None, ""])
def test_what_is_none(url: object) -> None:
    assert not is_redis_store(url)
    assert hyphened(url) == url


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ("", {}),
        ("ssl_cert_reqs=none", {"ssl_cert_reqs": "none"}),
        pytest.param("ssl_cert_reqs=CERT_REQUIRED", {"ssl_cert_reqs": "required"}, id="in Celery's words"),
        ("ssl_ca_certs=/etc/ca%20certs.pem", {"ssl_ca_certs": "/etc/ca certs.pem"}),
        ("ssl_check_hostname=false", {"ssl_check_hostname": False}),
        ("ssl_min_version=772", {"ssl_min_version": 772}),
    ],
)
def test_tls_is_the_clients(query: str, taken: dict[str, object]) -> None:
    pool = redis.ConnectionPool.from_url(redis_store_url(f"rediss+streams://db/0?prefix=a&{query}").server)
    assert issubclass(pool.connection_class, redis.SSLConnection)
    assert {name: value for name, value in pool.connection_kwargs.items() if name.startswith("ssl_")} == taken


def test_the_client_knows_every_option_of_tls() -> None:
    """In a URL all are texts, which it must read for what they mean."""
    values = dict.fromkeys(TLS_OPTIONS, "x") | {"ssl_cert_reqs": "required", "ssl_min_version": "771"}
    pool = redis.ConnectionPool.from_url(redis_store_url(f"rediss+streams://db/0?{urlencode(values)}").server)
    pool.connection_class(**pool.connection_kwargs)  # it would refuse a name


def test_kombu_is_led_to_the_store() -> None:
    """It would take what is before the + for the transport."""
    connection = Connection("redis+streams://shop:secret@db:7000/1?prefix=a")
    assert connection.get_transport_cls() is RedisTransport
    assert plussed(connection.hostname) == "redis+streams://shop:secret@db:7000/1?prefix=a"
    for other in ("memory://", "redis://db", "sqla+sqlite:///x.db"):
        assert not isinstance(Connection(other).transport_cls, RedisTransport)
        assert Connection(other).transport_cls == other.partition(":")[0].partition("+")[0]


def test_a_password_is_never_shown() -> None:
    url = "redis+streams://shop:secret@db/0?prefix=a"
    assert "secret" not in repr(redis_store_url(url))
    app = Celery("shop", broker=url, set_as_current=False)
    shown = RedisTransport.as_uri(None, hyphened(url))  # type: ignore[arg-type]  # it asks nothing of itself
    assert shown == "redis+streams://shop@db/0?prefix=a"
    assert "secret" not in app.backend.as_uri()


@pytest.mark.parametrize("named", ["redis+streams://db/0?prefix=a", None], ids=["named", "by default"])
def test_results_are_in_the_ledger(named: str | None) -> None:
    app = Celery("shop", broker="redis+streams://db/0?prefix=a", backend=named, set_as_current=False)
    assert app.has_store
    assert type(app.backend) is LedgerBackend
    assert app.backend.url == "redis+streams://db/0?prefix=a"


def test_results_beside_another_broker_keep_celerys_backend() -> None:
    app = Celery("shop", broker="redis://db/0", backend="redis://db/1", set_as_current=False)
    assert not app.has_store
    expected, _ = backends.by_url("redis://db/1", app.loader)
    assert type(app.backend) is expected


def test_another_prefix_for_results_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"redis\+streams://db/0\?prefix=b is another store than the broker's"):
        _ = Celery(
            "shop", broker="redis+streams://:secret@db", backend="redis+streams://db/0?prefix=b", set_as_current=False
        ).conf.broker_url
