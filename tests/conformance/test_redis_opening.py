"""What is asked of a Redis when a store on it is opened."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from celeriac.errors import ServerUnavailable, StoreError, StoreTooNew, StoreUnavailable
from celeriac.settings import redis_store_url
from celeriac.store.redis import RedisStore, checks
from celeriac.testing.conformance.harness import publish
from tests.support.redis import DURABLE, RedisServer


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server


@pytest.fixture
def server(durable: RedisServer, redis_url: str) -> Iterator[RedisServer]:
    """One that is as it was started; skipped where there is no Redis at all."""
    with closing(redis.Redis.from_url(durable.url)) as raw:
        before = {name: str(raw.config_get(name)[name]) for name in ("maxmemory", "maxmemory-policy", "appendfsync")}
    yield durable
    with closing(redis.Redis.from_url(durable.url, password=_PASSWORD)) as raw:
        try:
            raw.ping()
        except redis.AuthenticationError:
            raw.connection_pool.connection_kwargs["password"] = None
        raw.config_set("requirepass", "")
        for name, value in before.items():
            raw.config_set(name, value)
        raw.replicaof("NO", "ONE")
        raw.flushall()
        raw.acl_deluser("plain")


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    with closing(redis.Redis.from_url(server.url)) as raw:
        yield raw


_PASSWORD = "tr0ub4dor"


def _url(server: RedisServer, *, options: str = "", user: str = "") -> str:
    return f"redis+streams://{user}127.0.0.1:{server.port}/0{options}"


def _open(url: str) -> RedisStore:
    store = RedisStore(redis_store_url(url))
    store.close()
    return store


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "celeriac.store.redis")
    return caplog


def test_a_server_as_it_should_be_is_told_nothing(server: RedisServer, said: pytest.LogCaptureFixture) -> None:
    _open(_url(server))
    assert said.messages == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_one_that_drops_keys_is_refused(server: RedisServer, raw: Any, policy: str) -> None:
    raw.config_set("maxmemory", "100mb")
    raw.config_set("maxmemory-policy", policy)
    with pytest.raises(StoreError, match=f"maxmemory-policy is {policy}: .* Set maxmemory-policy noeviction"):
        _open(_url(server))


@pytest.mark.parametrize(
    ("memory", "policy"), [("0", "allkeys-lru"), ("100mb", "volatile-lru"), ("100mb", "noeviction")]
)
def test_one_that_drops_none_of_ours_is_not(server: RedisServer, raw: Any, memory: str, policy: str) -> None:
    raw.config_set("maxmemory", memory)
    raw.config_set("maxmemory-policy", policy)
    store = RedisStore(redis_store_url(_url(server)))
    publish(store, "a")
    store.save_group("g", "[]", store.now() + 60)
    store.broadcast("events", "", "[]", "x")
    store.close()
    assert [name for name in raw.scan_iter("*") if raw.ttl(name) != -1] == []


@pytest.mark.parametrize(
    ("fsync", "options", "told"),
    [
        ("everysec", "", "appendfsync is everysec.*loses what was accepted and settled in the last second"),
        ("no", "", "appendfsync is no.*loses all that it has not written"),
        ("everysec", "?durability=everysec", None),
        ("no", "?durability=everysec", "appendfsync is no"),
        ("no", "?durability=none", None),
        ("always", "?durability=everysec", None),
    ],
)
def test_what_a_crash_would_lose_is_said(
    server: RedisServer, raw: Any, said: pytest.LogCaptureFixture, fsync: str, options: str, told: str | None
) -> None:
    raw.config_set("appendfsync", fsync)
    _open(_url(server, options=options))
    assert len(said.messages) == (told is not None)
    if told is not None:
        assert re.search(told, said.messages[0])


def test_one_that_writes_nothing_says_so(tmp_path: Path, redis_url: str, said: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path / "volatile", "--appendonly", "no") as server:
        _open(_url(server))
    assert re.search("appendonly is no.*or everything: tasks are gone.*durability=none", said.messages[0])


def test_one_that_does_not_say_how_it_writes(server: RedisServer, raw: Any, said: pytest.LogCaptureFixture) -> None:
    """As at many providers."""
    raw.acl_setuser("plain", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-config"])
    _open(_url(server, user="plain:x@"))
    assert re.search("does not say how it writes", said.messages[0])
    said.clear()
    _open(_url(server, user="plain:x@", options="?durability=none"))
    assert said.messages == []


def test_the_rights_that_are_named_are_enough(server: RedisServer, raw: Any) -> None:
    commands = ["+@read", "+@write", "+@scripting", "+@connection", "+info", "+time", "+config|get"]
    raw.acl_setuser("plain", enabled=True, nopass=True, keys=["{celeriac}:*"], commands=commands)
    store = RedisStore(redis_store_url(_url(server, user="plain:x@")))
    publish(store, "a")
    assert store.claim(["celery"], 1, owner="w", lease=30)
    assert store.wait(5.0, store.mark()) != 0
    assert store._wakeups._session is not None, "it may read the streams"
    store.close()
    with pytest.raises(StoreError, match="the user lacks a right"):
        _open(_url(server, user="plain:x@", options="?prefix=other"))


def test_a_wrong_password_is_refused_and_not_shown(server: RedisServer, raw: Any) -> None:
    raw.config_set("requirepass", _PASSWORD)
    for user, problem in (("", "it asks for a password"), (":wr0ng@", "the password or the user's name is wrong")):
        with pytest.raises(StoreError, match=problem) as caught:
            _open(_url(server, user=user))
        assert not isinstance(caught.value, StoreUnavailable)
        assert "wr0ng" not in repr(caught.value)
    store = _open(_url(server, user=f":{_PASSWORD}@"))
    assert _PASSWORD not in f"{store.location} {store.database.url!r}"


def test_a_replica_is_no_place_to_write(server: RedisServer, raw: Any) -> None:
    store = RedisStore(redis_store_url(_url(server)))
    raw.replicaof("127.0.0.1", 1)
    with pytest.raises(StoreUnavailable, match="it is a replica: name the primary"):
        publish(store, "a")
    assert store.database._idle == [], "where the address leads by now is to be asked anew"
    with pytest.raises(StoreUnavailable, match="it is a replica: name the primary"):
        _open(_url(server))
    raw.replicaof("NO", "ONE")
    publish(store, "a")
    store.close()


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", ServerUnavailable, "raise maxmemory"),
        (
            "Error running script (call to f_1a2b): @user_script:3: -OOM command not allowed when used memory > 'maxmemory'.",
            ServerUnavailable,
            "raise maxmemory",
        ),
        (
            "Error running script (call to f_1a2b): @user_script:3: -READONLY You can't write against a read only replica.",
            ServerUnavailable,
            "name the primary",
        ),
        ("BUSY Redis is busy running a script.", ServerUnavailable, "a script runs on it"),
        (
            "MISCONF Errors writing to the AOF file: No space left on device",
            ServerUnavailable,
            "cannot write to its disk",
        ),
        ("CLUSTERDOWN The cluster is down", ServerUnavailable, "its cluster is down"),
        ("CROSSSLOT Keys in request don't hash to the same slot", StoreError, "it is a cluster"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreError, "See the detail"),
    ],
)
def test_what_a_server_refuses_is_said_with_what_to_do(
    server: RedisServer, said: str, kind: type[StoreError], remedy: str
) -> None:
    store = _open(_url(server))
    error = store.database.translate(redis.ResponseError(said))
    assert type(error) is kind
    assert said in str(error)
    assert remedy in str(error)


def test_an_old_server_is_refused(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_facts", lambda _: {"redis_version": "6.0.16"})
    with pytest.raises(StoreError, match=r"Redis 6\.0\.16 answers; 6\.2 or newer is needed"):
        _open(_url(server))


def test_the_keys_of_a_newer_celeriac_are_left_alone(server: RedisServer, raw: Any) -> None:
    _open(_url(server))
    raw.hset("{celeriac}:facts", "version", 99)
    with pytest.raises(StoreTooNew) as caught:
        _open(_url(server))
    assert (caught.value.found, caught.value.supported) == (99, 1)


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"store redis\+streams://127\.0\.0\.1:1/0"):
        _open("redis+streams://127.0.0.1:1/0")
