"""On Redis the next few hundred tasks are sent before the answer to those before is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import group

from celeriac import BrokerUnavailable
from celeriac.errors import ArgumentError, IdempotencyConflict, PartlySent
from celeriac.publish.batch import SLICE
from celeriac.store.redis.session import Session
from tests.integration.keeping import Keep
from tests.integration.sites import RedisSite, Site
from tests.integration.test_bulk import (  # noqa: F401  # collected here too
    test_a_group_and_a_chord_go_together,
    test_all_of_them_run_and_results_are_in_order,
    test_an_id_that_waits_is_not_sent_again,
    test_each_with_its_own_options,
    test_large_ones_go_fewer_at_a_time,
    test_signals_tell_of_each_once_it_is_sent,
    test_what_cannot_be_sent_keeps_its_slice_from_going,
    test_when_it_fails_later_it_says_how_far_it_came,
)
from tests.support.waiting import wait_for


@pytest.fixture
def site(tmp_path: Path, redis_url: str, keep: Keep) -> Site:
    return keep(RedisSite(tmp_path, redis_url))


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with closing(redis.Redis.from_url(redis_url)) as raw:
        yield raw


class Wire:
    """What goes over the connections of this process, of messages on their way."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.on_send: dict[int, Any] = {}
        self.on_hear: dict[int, Any] = {}

    def put_between(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send, hear = Session.send, Session.hear

        def sending(session: Session, *words: Any) -> None:
            if len(words) > 14 * SLICE:
                self.words.append("sent")
                self.on_send.get(self.words.count("sent"), lambda _: None)(session)
            send(session, *words)

        def hearing(session: Session, patience: float) -> Any:
            if "sent" in self.words:
                self.words.append("heard")
                self.on_hear.get(self.words.count("heard"), lambda _: None)(session)
            return hear(session, patience)

        monkeypatch.setattr(Session, "send", sending)
        monkeypatch.setattr(Session, "hear", hearing)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, site: Site) -> Wire:
    site.app.send_tasks([site.add.s(1, 1)])  # the store is open
    site.store.purge("celery")
    wire = Wire()
    # That the answer is not there yet is up to the server's speed; here it never is.
    monkeypatch.setattr(Session, "answers", lambda _session: False)
    wire.put_between(monkeypatch)
    return wire


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch, site: Site) -> list[int]:
    """How many messages went in each round trip."""
    counted: list[int] = []
    publish, ahead = site.store.publish, site.store.publish_ahead

    def counting(messages: Any) -> Any:
        counted.append(len(messages))
        return publish(messages)

    def counting_ahead(messages: Any, behind: Any) -> Any:
        counted.append(len(messages))
        return ahead(messages, behind)

    monkeypatch.setattr(site.store, "publish", counting)
    monkeypatch.setattr(site.store, "publish_ahead", counting_ahead)
    return counted


def numbered(site: Site, count: int) -> list[Any]:
    return [site.add.s(number, 1).set(task_id=f"task {number:05}") for number in range(count)]


def in_order(site: Site) -> list[str]:
    """The ids of what waits, as a worker would get them."""
    found: list[str] = []
    while some := site.store.claim(["celery"], 500, owner="test", lease=60):
        found += [str(item.task_id) for item in some]
    return found


def test_a_slice_is_sent_before_the_last_is_answered_and_never_three(site: Site, wire: Wire) -> None:
    sent = site.app.send_tasks(numbered(site, 4 * SLICE))
    assert wire.words == ["sent", "sent", "heard", "sent", "heard", "sent", "heard", "heard"]
    assert in_order(site) == [result.id for result in sent]


def test_a_group_too(site: Site, wire: Wire) -> None:
    members = group(numbered(site, 2 * SLICE)).delay()
    assert wire.words == ["sent", "sent", "heard", "heard"]
    assert in_order(site) == [result.id for result in members]


def test_one_that_may_be_refused_waits_for_those_before_and_holds_up_those_behind(site: Site, wire: Wire) -> None:
    def signatures() -> Iterator[Any]:
        yield from numbered(site, SLICE)
        yield site.keyed.s("k", "another journal")
        for number in range(2 * SLICE):
            yield site.add.s(number, 1)

    site.keyed.apply_async(("k", "journal"), queue="aside")
    with pytest.raises(PartlySent) as raised:
        site.app.send_tasks(signatures())
    assert (raised.value.sent, type(raised.value.__cause__)) == (SLICE, IdempotencyConflict)
    assert wire.words == ["sent", "heard", "sent", "heard"]
    assert site.store.size("celery") == SLICE


def test_who_fails_by_himself_is_told_of_what_is_under_way(site: Site, wire: Wire) -> None:
    with pytest.raises(PartlySent) as raised:
        site.app.send_tasks([*numbered(site, 2 * SLICE), site.add.s(1, object())])
    assert raised.value.sent == 2 * SLICE
    assert isinstance(raised.value.__cause__, ArgumentError)
    assert site.store.size("celery") == 2 * SLICE


@pytest.mark.parametrize(("heard", "certain"), [(1, 0), (2, SLICE), (3, 2 * SLICE)])
def test_an_answer_that_is_lost_leaves_two_slices_unknown_and_the_next_try_repeats_nothing(
    site: Site, wire: Wire, heard: int, certain: int
) -> None:
    wire.on_hear[heard] = Session.close
    signatures = numbered(site, 4 * SLICE)
    with pytest.raises((PartlySent, BrokerUnavailable)) as raised:
        site.app.send_tasks(signatures)
    assert getattr(raised.value, "sent", 0) == certain
    assert isinstance(raised.value.__cause__ if certain else raised.value, BrokerUnavailable)
    wire.on_hear.clear()
    site.app.send_tasks(signatures[certain:])
    assert sorted(in_order(site)) == [f"task {number:05}" for number in range(4 * SLICE)]


def test_a_connection_that_is_gone_at_the_second_slice(site: Site, wire: Wire) -> None:
    wire.on_send[2] = Session.close
    signatures = numbered(site, 3 * SLICE)
    with pytest.raises(BrokerUnavailable):
        site.app.send_tasks(signatures)
    wire.on_send.clear()
    site.app.send_tasks(signatures)
    assert sorted(in_order(site)) == [f"task {number:05}" for number in range(3 * SLICE)]


def test_a_server_that_forgot_its_scripts_is_told_them(site: Site, wire: Wire, server: Any) -> None:
    wire.on_send[1] = lambda _: server.script_flush()
    site.app.send_tasks(numbered(site, 3 * SLICE))
    assert sorted(in_order(site)) == [f"task {number:05}" for number in range(3 * SLICE)]


def test_a_server_that_hung_up_in_a_long_pause_is_asked_on_another_connection(
    site: Site, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there, and behind it the end: what was accepted is not made unknown by a vain try to send."""
    used: list[str] = []
    send = Session.send

    def noting(session: Session, *words: Any) -> None:
        if len(words) > 14 * SLICE:
            used.append("{}:{}".format(*session._raw._sock.getsockname()[:2]))
        send(session, *words)

    monkeypatch.setattr(Session, "send", noting)

    def signatures() -> Iterator[Any]:
        for number in range(2 * SLICE):
            if number == SLICE:
                wait_for(lambda: site.store.size("celery") == SLICE, 30)
                server.client_kill(used[0])
            yield site.add.s(number, 1).set(task_id=f"task {number:05}")

    assert len(site.app.send_tasks(signatures())) == 2 * SLICE
    assert in_order(site) == [f"task {number:05}" for number in range(2 * SLICE)]
    assert len(set(used)) == 2
