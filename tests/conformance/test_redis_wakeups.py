"""Who waits on Redis is woken by what concerns him, whatever becomes of his connection."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import redis

from celeriac.settings import redis_store_url
from celeriac.store.protocols import News, Store
from celeriac.store.redis import RedisStore, wakeups
from celeriac.testing.conformance.harness import LEASE, claim, claim_one, publish, settle, task
from tests.conformance.redis import ClockedStore, RedisHarness, store_url
from tests.support import wait_for
from tests.support.proxy import Proxy

#: Seconds in which nothing comes, and in which what is sent has come.
SILENCE, SOON = 0.3, 10.0
#: What an idle worker waits for.
WORK = News.WORK | News.BROADCASTS


@pytest.fixture
def harness(redis_url: str) -> Iterator[RedisHarness]:
    opened = RedisHarness(redis_url)
    yield opened
    opened.close()


@pytest.fixture
def other(harness: RedisHarness) -> ClockedStore:
    """Another process's store, which does what wakes."""
    return harness.open()


@pytest.fixture
def worker(harness: RedisHarness, other: ClockedStore) -> ClockedStore:
    """A store on which an idle worker waits, having heard all there was."""
    worker = harness.open()
    _listen(worker)
    return worker


def _listen(store: Store, news: News = WORK) -> None:
    while store.wait(0.05, store.mark(news), news) != store.mark(news):
        pass


def _is_woken(store: Store, by: Callable[[], object], seconds: float = SOON, news: News = WORK) -> bool:
    mark = store.mark(news)
    by()
    return store.wait(seconds, mark, news) != mark


# -- by what


def test_a_message_for_an_empty_queue_wakes_workers(worker: ClockedStore, other: ClockedStore) -> None:
    assert _is_woken(worker, lambda: publish(other, "a"))
    claim(other)
    assert _is_woken(worker, lambda: publish(other, "b"))


def test_settlements_of_others_wake_only_who_waits_for_results(
    harness: RedisHarness, worker: ClockedStore, other: ClockedStore
) -> None:
    waiter = harness.open()
    publish(other, "a", "b")
    held = claim(other)
    _listen(worker)
    _listen(waiter, News.RESULTS)
    assert not _is_woken(worker, lambda: settle(other, held[0]), SILENCE)
    assert _is_woken(waiter, lambda: settle(other, held[1]), news=News.RESULTS)
    _listen(waiter, News.RESULTS)
    assert not _is_woken(waiter, lambda: publish(other, "c"), SILENCE, News.RESULTS)


def test_what_follows_a_settlement_wakes_workers(worker: ClockedStore, other: ClockedStore) -> None:
    publish(other, "a")
    held = claim_one(other)
    _listen(worker)
    assert _is_woken(worker, lambda: settle(other, held, follow_ups=[task("next", follow_up=True)]))


def test_what_is_handed_back_wakes_workers(harness: RedisHarness, worker: ClockedStore, other: ClockedStore) -> None:
    publish(other, "a", "b")
    first, _ = claim(other)
    _listen(worker)
    assert _is_woken(worker, lambda: other.release([first.lease]))
    harness.pass_time(LEASE + 1)
    assert _is_woken(worker, other.reclaim)


def test_who_is_due_first_is_told_and_who_is_later_is_not(worker: ClockedStore, other: ClockedStore) -> None:
    now = other.now()
    assert _is_woken(worker, lambda: publish(other, task("late", run_at=now + 100)))
    assert not _is_woken(worker, lambda: publish(other, task("later", run_at=now + 200)), SILENCE)
    assert _is_woken(worker, lambda: publish(other, task("soon", run_at=now + 50)))
    assert _is_woken(worker, lambda: other.revoke(["later"], 60))


def test_a_broadcast_wakes_workers(worker: ClockedStore, other: ClockedStore) -> None:
    for _ in range(2):
        assert _is_woken(worker, lambda: other.broadcast("pidbox", "", "[]", "x"))


def test_who_has_room_again_is_roused(worker: ClockedStore) -> None:
    """No word of it goes through the server."""
    timer = threading.Timer(0.2, worker.rouse)
    timer.start()
    began = time.monotonic()
    assert _is_woken(worker, lambda: None)
    assert time.monotonic() - began < SOON / 2
    timer.join()


def test_threads_wait_for_different_news(worker: ClockedStore, other: ClockedStore) -> None:
    """One listens; what the others wait for is asked for as well, also when they come later."""
    publish(other, "a", "b")
    first, second = claim(other)
    _listen(worker)
    woken: list[str] = []

    def wait(name: str, news: News) -> None:
        mark = worker.mark(news)
        if worker.wait(SOON, mark, news) != mark:
            woken.append(name)

    threads = [
        threading.Thread(target=wait, args=("work", WORK)),
        threading.Thread(target=wait, args=("r", News.RESULTS)),
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    settle(other, first)
    threads[1].join()
    assert woken == ["r"]
    publish(other, "c")
    threads[0].join()
    assert woken == ["r", "work"]
    assert settle(other, second).held


def test_several_threads_wait(worker: ClockedStore, other: ClockedStore) -> None:
    mark, woken = worker.mark(WORK), []
    threads = [threading.Thread(target=lambda: woken.append(worker.wait(SOON, mark, WORK))) for _ in range(3)]
    for thread in threads:
        thread.start()
    publish(other, "a")
    for thread in threads:
        thread.join()
    assert len(woken) == 3
    assert mark not in woken


# -- whatever becomes of the connection


def test_a_connection_that_the_server_ends_counts_as_a_word(
    redis_url: str, worker: ClockedStore, other: ClockedStore
) -> None:
    number = worker._wakeups._session
    assert number is not None
    _, port = number._raw._sock.getsockname()[:2]  # of all connections only this one
    with closing(redis.Redis.from_url(redis_url)) as raw:
        assert _is_woken(worker, lambda: raw.client_kill(f"127.0.0.1:{port}"))
    wait_for(lambda: _heard_again(worker), SOON)
    _listen(worker)
    assert _is_woken(worker, lambda: publish(other, "a"))


def _heard_again(store: ClockedStore) -> bool:
    store.wait(0.1, store.mark(WORK), WORK)
    return store._wakeups._session is not None


def test_a_server_that_falls_silent_is_given_up(
    redis_url: str, harness: RedisHarness, other: ClockedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "BLOCK", 0.2)
    monkeypatch.setattr(wakeups, "LATE", 0.2)
    monkeypatch.setattr(wakeups, "RECONNECT", 0.1)
    parts = urlsplit(redis_url)
    with Proxy(parts.hostname or "127.0.0.1", parts.port or 6379) as way:
        url = store_url(redis_url.replace(f":{parts.port}", f":{way.port}"), harness.prefix)
        with closing(RedisStore(redis_store_url(url))) as far:
            _listen(far)
            mark = far.mark(WORK)
            way.swallow()
            assert far.wait(SOON, mark, WORK) != mark
            way.heal()
            wait_for(lambda: _is_woken(far, lambda: other.broadcast("pidbox", "", "[]", "x"), 0.5), SOON)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_child_and_its_parent_are_woken_both(worker: ClockedStore, other: ClockedStore) -> None:
    mark = worker.mark(WORK)
    child = os.fork()
    if child == 0:
        os._exit(0 if worker.wait(SOON, mark, WORK) != mark else 1)
    publish(other, "a")
    assert worker.wait(SOON, mark, WORK) != mark
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    claim(other)
    _listen(worker)
    assert _is_woken(worker, lambda: publish(other, "b"))
