"""Many tasks sent together end as they do one by one, on either store."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import chain, chord, group, signals

from celeriac import Celery
from celeriac.core.message import Published, TaskMessage
from celeriac.errors import (
    ArgumentError,
    CeleriacWarning,
    IdempotencyConflict,
    PartlySent,
    StoreError,
    StoreUnavailable,
)
from celeriac.publish.batch import SLICE
from celeriac.store.postgres import copying
from tests.integration.keeping import Keep
from tests.integration.sites import PostgresSite, Site, counts, lines


@pytest.fixture(params=["sqlite", "postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest, keep: Keep) -> Site:
    server = request.param == "postgres" and request.getfixturevalue("postgres_url")
    return keep(PostgresSite(tmp_path, server) if server else Site(tmp_path))


@pytest.fixture
def trips(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages went in each round trip."""
    counted: list[int] = []
    publish = site.store.publish

    def counting(messages: Any) -> list[Published]:
        counted.append(len(messages))
        return publish(messages)

    monkeypatch.setattr(site.store, "publish", counting)
    return counted


def test_all_of_them_run_and_results_are_in_order(site: Site, trips: list[int]) -> None:
    count = 2 * SLICE + 7
    sent = site.app.send_tasks(site.add.s(number, 1) for number in range(count))
    assert trips == [SLICE, SLICE, 7]
    assert len(sent) == count
    site.worker("threads", concurrency=4)
    site.wait_ended([result.id for result in sent])
    assert [result.get(timeout=30) for result in sent] == list(range(1, count + 1))
    assert sent[-1].get() == count
    assert [result.get() for result in sent[2:4]] == [3, 4]


def test_each_with_its_own_options(site: Site) -> None:
    journal = site.file()
    other = Celery("other", broker=site.url, set_as_current=False)
    signatures = [
        site.effect.s(journal, "low").set(priority=1),
        site.effect.s(journal, "high").set(priority=9),
        site.effect.s(journal, "elsewhere").set(queue="elsewhere"),
        site.effect.s(journal, "late").set(countdown=3600),
        site.effect.s(journal, "named").set(task_id="named"),
        site.effect.s(journal, "linked").set(link=site.effect_after.si(None, journal, "link")),
        dict(site.effect.s(journal, "as a mapping")),
        chain(site.add.s(1, 1), site.effect_of.s(journal)),
        site.keyed.s("k", journal),
        site.keyed.s("k", journal),
        other.signature("add", (1, 1), app=other),
    ]
    sent = site.app.send_tasks(signatures)
    assert sent[4].id == "named"
    assert sent[9].id == sent[8].id
    assert site.queues()["celery"].delayed == 1
    assert site.queues()["elsewhere"].ready == 1
    site.worker("solo")
    for place, result in enumerate(sent):
        if place not in (2, 3):
            result.get(timeout=30)
    assert lines(journal)[0] == "high"
    expected = {"low", "high", "named", "linked", "link", "as a mapping", "2", "k 0"}
    assert set(counts(journal)) == expected
    assert set(counts(journal).values()) == {1}
    other.close()


def test_an_id_that_waits_is_not_sent_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    ids = [f"task {number}" for number in range(40)]
    site.add.apply_async((1, 1), task_id=ids[7])
    sent = site.app.send_tasks([site.add.s(1, 1).set(task_id=task_id) for task_id in [*ids, ids[3]]])
    assert [result.id for result in sent] == [*ids, ids[3]]
    assert site.store.size("celery") == 40
    assert [text for text in caplog.messages if "nothing was sent" in text] == [
        f"task add[{task_id}] waits or runs already: nothing was sent. Leave task_id out for a second run"
        for task_id in (ids[7], ids[3])
    ]


def test_what_cannot_be_sent_keeps_its_slice_from_going(site: Site) -> None:
    good = [site.add.s(1, 1) for _ in range(3)]
    for bad, error in [
        (site.add.s(1, object()), ArgumentError),
        (site.add.s(1), TypeError),
        (site.keyed.s("k", "another journal"), IdempotencyConflict),
    ]:
        site.keyed.apply_async(("k", "journal"), queue="aside")
        with pytest.raises(error):
            site.app.send_tasks([*good, bad, *good])
    assert site.store.size("celery") == 0


def test_when_it_fails_later_it_says_how_far_it_came(site: Site) -> None:
    def signatures() -> Iterator[Any]:
        for _ in range(SLICE + 3):
            yield site.add.s(1, 1)
        yield site.add.s(1, object())

    with pytest.raises(PartlySent, match=f"the first {SLICE} signatures were sent, and then: task add") as raised:
        site.app.send_tasks(signatures())
    assert raised.value.sent == SLICE
    assert isinstance(raised.value.__cause__, ArgumentError)
    assert site.store.size("celery") == SLICE


def test_it_says_so_too_where_no_slice_ends_with_a_signature(site: Site) -> None:
    """Otherwise the plain error says that nothing was sent, and all of it is sent again."""

    def signatures() -> Iterator[Any]:
        yield site.add.s(1, 1)
        for _ in range(SLICE):
            yield group(site.add.s(number, 1) for number in range(3))
        yield site.add.s(1, object())

    with pytest.raises(PartlySent) as raised:
        site.app.send_tasks(signatures())
    assert site.store.size("celery") == 3 * SLICE
    # The last slice ends with the first member of a group.
    assert raised.value.sent == SLICE
    with pytest.raises(PartlySent, match="members of the first signature were sent, and then: task add") as raised:
        site.app.send_tasks([group([site.add.s(1, 1)] * SLICE + [site.add.s(1, object())])])
    assert raised.value.sent == 0


def test_a_group_says_so_too(site: Site) -> None:
    with pytest.raises(PartlySent, match=f"the first {SLICE} signatures were sent, and then: task add") as raised:
        group([site.add.s(1, 1)] * SLICE + [site.add.s(1, object())]).delay()
    assert raised.value.sent == SLICE
    assert site.store.size("celery") == SLICE
    with pytest.raises(ArgumentError):
        group([site.add.s(1, 1), site.add.s(1, object())]).delay()
    assert site.store.size("celery") == SLICE


def test_sending_again_after_an_unknown_end_repeats_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second slice arrives, and its answer does not."""
    signatures = [site.add.s(number, 1).set(task_id=f"task {number}") for number in range(2 * SLICE)]
    publish, calls = site.store.publish, []

    def unheard(messages: list[TaskMessage]) -> list[Published]:
        calls.append(len(messages))
        published = publish(messages)
        if len(calls) == 2:
            raise StoreUnavailable(site.store.location, "no answer")
        return published

    monkeypatch.setattr(site.store, "publish", unheard)
    with pytest.raises(PartlySent) as raised:
        site.app.send_tasks(signatures)
    assert raised.value.sent == SLICE
    site.app.send_tasks(signatures[raised.value.sent :])
    assert site.store.size("celery") == 2 * SLICE


def test_a_million_would_not_be_held(site: Site) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            sent = site.app.send_tasks(site.effect.si("x" * 2000, str(number)) for number in range(count))
            assert len(sent) == count
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    peak(SLICE)
    # What stays of each is its id.
    assert peak(8 * SLICE) < 2 * peak(2 * SLICE)


def test_large_ones_go_fewer_at_a_time(site: Site, trips: list[int]) -> None:
    site.app.send_tasks(site.collect.s("x" * 1_500_000) for _ in range(7))
    assert trips == [3, 3, 1]


def test_a_group_and_a_chord_go_together(site: Site, trips: list[int]) -> None:
    journal = site.file()
    members = group(site.add.s(number, 1) for number in range(60)).delay()
    assert trips == [60]
    joined = chord((site.add.s(number, 1) for number in range(40)), site.effect_of.s(journal)).delay()
    assert trips == [60, 40]
    nested = group(group(site.add.s(1, 1), site.add.s(2, 2)), chain(site.add.s(1, 1), site.add.s(1))).delay()
    assert trips == [60, 40, 3]
    pieces = site.add.chunks([(number, 1) for number in range(6)], 2).delay()
    assert trips == [60, 40, 3, 3]
    site.worker("threads", concurrency=4)
    assert members.get(timeout=60) == list(range(1, 61))
    assert joined.get(timeout=60) == list(range(1, 41))
    assert nested.get(timeout=60) == [2, 4, 3]
    assert pieces.get(timeout=60) == [[1, 2], [3, 4], [5, 6]]
    assert len(lines(journal)) == 1


def test_signals_tell_of_each_once_it_is_sent(site: Site) -> None:
    waiting: list[int] = []

    def sent(**_: Any) -> None:
        waiting.append(site.store.size("celery"))

    signals.after_task_publish.connect(sent)
    try:
        site.app.send_tasks(site.add.s(1, 1) for _ in range(3))
    finally:
        signals.after_task_publish.disconnect(sent)
    assert waiting == [3, 3, 3]


def test_inside_a_task_they_have_their_parent(site: Site) -> None:
    site.worker("solo")
    told = site.spawn_many.delay(30).get(timeout=30)
    assert told["children"] == told["ids"]
    seen = [site.app.AsyncResult(task_id).get(timeout=30) for task_id in told["ids"]]
    assert [(one["root_id"], one["parent_id"]) for one in seen] == [(told["id"], told["id"])] * 30


def test_what_is_sent_when_the_body_is_over_waits_for_the_settle(site: Site) -> None:
    """The members of a group after a task are sent by Celery once the body has returned."""
    journal = site.file()
    result = chain(site.add.s(1, 1), group(site.effect_after.s(journal, str(number)) for number in range(20))).delay()
    site.worker("solo")
    result.get(timeout=30)
    assert counts(journal) == {str(number): 1 for number in range(20)}


ODD = 'tab\t newline\n return\r back\\slash \\N "quote" ß \U0001f600'


def _new(number: int, body: str | bytes = ODD, name: str = f"name {ODD}", run_at: float | None = None) -> TaskMessage:
    envelope = f"envelope {number} {ODD}"
    return TaskMessage("q", envelope, body, f"{number} {ODD}", name, 3, run_at, expires_at=9e9, generation=0)


def test_what_is_copied_to_postgres_comes_back_as_it_was(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    copy = copying.copy

    def counted(session: Any, messages: Any, now: float) -> None:
        copied.append(len(messages))
        copy(session, messages, now)

    monkeypatch.setattr(copying, "copy", counted)
    site = PostgresSite(tmp_path, postgres_url)
    try:
        store = site.store
        messages = [*(_new(number) for number in range(30)), _new(30, body=b"\x00\xff\\"), _new(31, run_at=9e9)]
        assert not any(published.live for published in store.publish(messages))
        assert copied == [32]
        found = store.claim(["q"], 100, owner="test", lease=30)
        kept = [(item.envelope, item.body, item.task_id, item.generation, item.priority) for item in found]
        assert kept == [(one.envelope, one.body, one.task_id, 0, 3) for one in messages[:31]]
        assert store.sizes()[0].delayed == 1
        # Some are there already: none was copied, and the others are sent.
        again = store.publish([_new(number) for number in range(20, 60)])
        assert [published.live for published in again] == [True] * 12 + [False] * 28
        with pytest.raises(StoreError, match="0x00"):
            store.publish([_new(number, name="\x00") for number in range(100, 130)])
        assert copied == [32, 40, 30]
        assert len(store.claim(["q"], 100, owner="test", lease=30)) == 28
    finally:
        site.close()


def test_in_a_transaction_they_share_its_fate(tmp_path: Path, postgres_url: str) -> None:
    site = PostgresSite(tmp_path, postgres_url)
    try:
        with psycopg.connect(postgres_url) as connection:
            with site.app.transaction(connection):
                site.app.send_tasks(site.add.s(1, 1) for _ in range(SLICE + 30))
            connection.rollback()
            assert site.store.size("celery") == 0
            with site.app.transaction(connection):
                site.app.send_tasks(site.add.s(1, 1) for _ in range(30))
            connection.commit()
        assert site.store.size("celery") == 30
    finally:
        site.close()


def test_eagerly_and_on_a_foreign_broker(site: Site) -> None:
    site.app.conf.task_always_eager = True
    assert [result.get() for result in site.app.send_tasks([site.add.s(1, 1), site.add.s(2, 2)])] == [2, 4]
    foreign = Celery("foreign", broker="memory://", set_as_current=False)
    foreign.conf.task_default_queue = queue = f"q{uuid.uuid4().hex}"
    sent = foreign.send_tasks(foreign.signature("anything", (number,)) for number in range(5))
    assert len({result.id for result in sent}) == 5
    with foreign.connection() as connection:
        assert connection.default_channel._size(queue) == 5
    foreign.close()


def test_a_group_of_very_many_warns_and_is_sent(site: Site) -> None:
    site.app.conf.celeriac_warn_of_members = 20
    group([site.add.s(n, n) for n in range(20)]).delay()
    with pytest.warns(CeleriacWarning, match=r"a group of 21 members.*send_tasks"):
        sent = group([site.add.s(n, n) for n in range(21)]).delay()
    assert len(sent.results) == 21
    assert site.queues()["celery"].ready == 41


def test_members_of_a_chord_are_cast_as_celery_builds_them(site: Site) -> None:
    """But for the ids and the arguments, of all that it has made."""
    chord([site.add.s(n, n) for n in range(4)], site.collect.s(1)).delay()
    first, *others = [
        json.loads(delivery.envelope) + json.loads(delivery.body)
        for delivery in site.store.claim(["celery"], 4, owner="test", lease=30)
    ]
    for number, one in enumerate([first, *others]):
        task_id = one[0].pop("id")
        assert (one[0].pop("root_id"), one[1].pop("correlation_id")) == (task_id, task_id)
        assert (one[0].pop("argsrepr"), one[0].pop("group_index")) == (f"({number}, {number})", number)
        assert one.pop(4) == [number, number]
    assert others == [first] * 3
    assert first[5]["chord"]["task"] == "collect"
