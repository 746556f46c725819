"""Fanout and bindings."""

from __future__ import annotations

from celeriac.core.message import Broadcast
from celeriac.store.protocols import Store
from celeriac.testing.conformance.harness import Conformance, StoreHarness


class FanoutConformance(Conformance):
    """Broadcasts reach whoever listens by then; bindings reach every process."""

    def test_a_listener_hears_what_comes_after_it(self, store: Store) -> None:
        _say(store, "before")
        start = store.last_broadcast()
        assert store.listen(["pidbox"], start) == []
        _say(store, "after")
        [heard] = store.listen(["pidbox"], start)
        assert (heard.exchange, heard.routing_key, heard.envelope, heard.body) == ("pidbox", "key", "[]", "after")

    def test_everybody_hears_everything_once_and_in_order(self, harness: StoreHarness, store: Store) -> None:
        other = harness.open()
        starts = {id(listener): listener.last_broadcast() for listener in (store, other)}
        for number in range(5):
            _say(store, f"{number}")
        for listener in (store, other):
            heard = listener.listen(["pidbox"], starts[id(listener)])
            assert _bodies(heard) == ["0", "1", "2", "3", "4"]
            assert listener.listen(["pidbox"], heard[-1].id) == []

    def test_exchanges_are_kept_apart(self, store: Store) -> None:
        for exchange in ("pidbox", "events", "other"):
            _say(store, exchange, exchange)
        assert _bodies(store.listen(["pidbox", "events"], 0)) == ["pidbox", "events"]
        assert store.listen([], 0) == []

    def test_a_flood_is_heard_whole(self, store: Store) -> None:
        spoken = [f"{number}" for number in range(1_200)]
        for body in spoken:
            _say(store, body)
        heard: list[Broadcast] = []
        while more := store.listen(["pidbox"], heard[-1].id if heard else 0):
            heard += more
        assert _bodies(heard) == spoken

    def test_bodies_may_be_bytes(self, store: Store) -> None:
        store.broadcast("events", "", "[]", b"\x00\xff")
        assert store.listen(["events"], 0)[0].body == b"\x00\xff"

    def test_old_broadcasts_are_pruned(self, harness: StoreHarness, store: Store) -> None:
        _say(store, "old")
        harness.pass_time(3_600)
        _say(store, "new")
        _prune(store)
        assert _bodies(store.listen(["pidbox"], 0)) == ["new"]

    def test_a_listener_misses_nothing_by_the_pruning(self, harness: StoreHarness, store: Store) -> None:
        _say(store, "old")
        old_listener = store.last_broadcast()
        harness.pass_time(3_600)
        _prune(store)
        new_listener = store.last_broadcast()
        _say(store, "new")
        assert [_bodies(store.listen(["pidbox"], start)) for start in (old_listener, new_listener)] == [["new"]] * 2

    # -- bindings

    def test_bindings_are_every_processs(self, harness: StoreHarness, store: Store) -> None:
        for _ in range(2):
            store.bind("topic", "news.*", "^news", "a")
        store.bind("topic", "", "", "b")
        store.bind("elsewhere", "news.*", "^news", "c")
        other = harness.open()
        assert sorted(other.bindings("topic")) == [("", "", "b"), ("news.*", "^news", "a")]
        assert other.bindings("unheard-of") == []

    def test_a_queue_that_is_gone_has_none(self, store: Store) -> None:
        for exchange in ("topic", "direct"):
            store.bind(exchange, "k", "", "a")
            store.bind(exchange, "k", "", "b")
        store.unbind("a")
        assert [store.bindings(exchange) for exchange in ("topic", "direct")] == [[("k", "", "b")]] * 2

    def test_bindings_last_except_those_of_reply_queues(self, harness: StoreHarness, store: Store) -> None:
        reply = "4f7b.reply.celery.pidbox"
        store.bind("reply.celery.pidbox", "4f7b", "", reply)
        store.bind("topic", "news.*", "", "a")
        harness.pass_time(1_000)
        _prune(store)
        assert store.bindings("reply.celery.pidbox") == []
        assert store.bindings("topic") == [("news.*", "", "a")]


def _say(store: Store, body: str, exchange: str = "pidbox") -> None:
    store.broadcast(exchange, "key", "[]", body)


def _bodies(heard: list[Broadcast]) -> list[str | bytes]:
    return [item.body for item in heard]


def _prune(store: Store) -> None:
    store.prune(store.now(), attempts_before=store.now(), dead_letters_before=None)
