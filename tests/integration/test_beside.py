"""A ledger beside Redis or RabbitMQ: what celeriac promises holds there too."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import celery
import psycopg
import pytest
from celery import chain, chord, group, states
from celery.exceptions import TaskRevokedError

from celeriac.core.message import LEDGER_HEADER
from celeriac.errors import IdempotencyConflict, TransactionError
from tests.integration.sites import BesideSite, counts, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool

PATIENCE = 30
#: Broker, ledger, pool, and whether all goes by the ledger: each at least once, and none with all.
COMBINATIONS: list[tuple[str, str, Pool, bool | None]] = [
    ("redis", "sqlite", "prefork", None),
    ("redis", "postgres", "threads", None),
    ("redis", "sqlite", "gevent", False),
    ("amqp", "postgres", "prefork", None),
    ("amqp", "sqlite", "solo", None),
]


@pytest.fixture(scope="module", params=COMBINATIONS, ids=lambda each: "-".join(each[:3]))
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BesideSite]:
    broker, ledger, pool, outbox = request.param
    site = BesideSite.of(tmp_path_factory.mktemp("beside"), broker, ledger, celeriac_outbox=outbox)
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: BesideSite, request: pytest.FixtureRequest) -> Iterator[BesideSite]:
    request.node.stash[PROGRAMS] = shared_site.workers
    yield shared_site
    # Whatever it was sent, it goes on working, and nothing is left.
    assert shared_site.add.delay(1, 1).get(timeout=PATIENCE) == 2
    wait_for(lambda: not shared_site.queues(), PATIENCE, lambda: f"left in the ledger: {shared_site.queues()}")
    wait_for(lambda: shared_site.in_broker() == 0, PATIENCE, "left in the broker")


@pytest.fixture
def key() -> str:
    """A key that nobody has used."""
    return uuid.uuid4().hex


def _stock(site: BesideSite) -> celery.Celery:
    """A client that knows nothing of celeriac."""
    app = celery.Celery("stock", broker=site.broker, set_as_current=False)
    options = site.app.conf.broker_transport_options or {}
    app.conf.update(task_default_queue=site.name, broker_transport_options=options)
    return app


# -- the usual


def test_plain_tasks_settle_in_the_ledger(site: BesideSite) -> None:
    journal = site.file()
    ids = [site.effect.delay(journal, str(number)).id for number in range(20)]
    records = site.wait_ended(ids, PATIENCE)
    assert {(record.state, record.queue) for record in records.values()} == {(states.SUCCESS, site.name)}
    assert counts(journal) == {str(number): 1 for number in range(20)}


def test_a_canvas_completes(site: BesideSite) -> None:
    assert chain(site.add.s(1, 2), site.add.s(3), site.add.s(4)).delay().get(timeout=PATIENCE) == 10
    header = [site.add.si(number, number) for number in range(4)]
    assert chord(header, site.collect.s()).delay().get(timeout=PATIENCE) == [0, 2, 4, 6]
    assert group(header).delay().get(timeout=PATIENCE) == [0, 2, 4, 6]
    assert site.swap_for_chord.delay(3).get(timeout=PATIENCE)


def test_what_fails_is_a_dead_letter_and_can_be_redriven(site: BesideSite) -> None:
    result = site.fail.delay("no such order")
    with pytest.raises(ValueError, match="no such order"):
        result.get(timeout=PATIENCE)
    letter = site.letter(result.id)
    assert (letter.queue, letter.reason) == (site.name, "permanent")
    assert site.app.dead_letters.redrive(letter.id).done == 1
    again = wait_for(lambda: [new for new in site.letters() if new.task_id == result.id], PATIENCE)
    assert [(new.generation, new.id > letter.id) for new in again] == [(1, True)]


def test_a_retry_waits_in_the_ledger(site: BesideSite) -> None:
    result = site.retry_until.delay(2, 0.3)
    assert result.get(timeout=PATIENCE) == 2
    assert [attempt.outcome for attempt in site.attempts(result.id)] == ["retry", "retry"]


def test_a_countdown_waits_in_the_ledger(site: BesideSite) -> None:
    journal = site.file()
    began = time.time()
    result = site.effect.apply_async((journal, "late"), countdown=1.0)
    wait_for(lambda: [size.delayed for size in site.queues().values()] == [1], PATIENCE)
    assert lines(journal) == []
    assert result.get(timeout=PATIENCE) == "late"
    assert time.time() - began >= 1.0


def test_a_task_may_reject_itself_once(site: BesideSite) -> None:
    assert site.rejected_once.delay(site.file()).get(timeout=PATIENCE)


def test_an_explicit_id_that_is_over_runs_once_more(site: BesideSite) -> None:
    journal, task_id = site.file(), str(uuid.uuid4())
    for generation in range(2):
        site.effect.apply_async((journal, "a"), task_id=task_id).get(timeout=PATIENCE)
        wait_for(lambda: site.record(task_id).generation == generation, PATIENCE)  # type: ignore[union-attr]  # noqa: B023
        assert len(lines(journal)) == generation + 1


# -- keys


def test_one_key_is_one_run(site: BesideSite, key: str) -> None:
    journal = site.file()
    results = [site.keyed.delay(key, journal) for _ in range(3)]
    assert len({result.id for result in results}) == 1
    assert results[0].get(timeout=PATIENCE) == f"{key} 0"
    assert site.keyed.delay(key, journal).id == results[0].id
    with pytest.raises(IdempotencyConflict):
        site.keyed.delay(key, journal, amount=7)
    assert lines(journal) == [f"{key} 0"]


def test_who_comes_by_another_way_under_a_key_waits_for_its_holder(site: BesideSite, key: str) -> None:
    journal, gate = site.file(), site.file("gate")
    holder = site.keyed_hold.delay(key, journal, gate)
    member = chain(site.keyed_hold.si(key, journal, gate), site.collect.s()).delay()
    wait_line(journal, f"begin {key}")
    open_gate(gate)
    assert (holder.get(timeout=PATIENCE), member.get(timeout=PATIENCE)) == (key, key)
    assert counts(journal)[f"begin {key}"] == 1


# -- what comes from elsewhere


def test_a_stock_client_s_task_is_adopted(site: BesideSite) -> None:
    journal = site.file()
    task_id = _stock(site).send_task("effect", (journal, "stock")).id
    site.wait_ended([task_id], PATIENCE)
    assert (site.state(task_id), lines(journal)) == (states.SUCCESS, ["stock"])


def test_a_message_delivered_twice_runs_once(site: BesideSite) -> None:
    journal, task_id, stock = site.file(), str(uuid.uuid4()), _stock(site)
    for _ in range(3):
        stock.send_task("effect", (journal, "a"), task_id=task_id)
    site.wait_ended([task_id], PATIENCE)
    for _ in range(3):  # it is over by now
        stock.send_task("effect", (journal, "a"), task_id=task_id)
    wait_for(lambda: site.in_broker() == 0, PATIENCE)
    site.add.delay(1, 1).get(timeout=PATIENCE)
    assert lines(journal) == ["a"]


def test_a_task_nobody_knows_is_a_dead_letter(site: BesideSite) -> None:
    task_id = _stock(site).send_task("nobody.knows").id
    assert wait_for(lambda: [new.reason for new in site.letters() if new.task_id == task_id], PATIENCE) == [
        "unknown-task"
    ]
    assert site.state(task_id) == states.FAILURE


@pytest.mark.parametrize(
    ("body", "content_type", "headers"),
    [
        (b"this is no JSON", "application/json", {}),
        (b"null", "application/json", {}),
        (b"\xff\xfe", "application/x-unheard-of", {}),
        (b"[[1,2],{},{}]", "application/json", {"compression": "application/x-gzip"}),
        (b"[[1,2],{},{}]", "application/json", {"eta": "soon"}),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter(
    site: BesideSite, body: bytes, content_type: str, headers: dict[str, Any]
) -> None:
    task_id = str(uuid.uuid4())
    with _stock(site).connection_for_write() as connection:
        connection.Producer().publish(
            body,
            routing_key=site.name,
            content_type=content_type,
            content_encoding="utf-8",
            headers={"id": task_id, "task": "add", "lang": "py", **headers},
        )
    if "eta" in headers:  # it is adopted, and so runs now
        site.wait_ended([task_id], PATIENCE)
    else:
        assert wait_for(lambda: [new for new in site.letters() if new.task_id == task_id], PATIENCE)


def test_a_message_names_its_ledger(site: BesideSite) -> None:
    """What goes straight to the broker, and what the ledger sends."""
    unread = f"{site.name}-unread"
    with site.app.connection_for_write() as connection:
        channel = connection.default_channel
        site.add.apply_async((1, 1), queue=unread)
        site.keyed.apply_async((uuid.uuid4().hex, site.file()), queue=unread)
        queue = site.app.amqp.queues[unread](channel)
        wait_for(lambda: queue.queue_declare().message_count == 2, PATIENCE)
        found = [queue.get(no_ack=True) for _ in range(2)]
        queue.delete()
    assert {message.headers["task"] for message in found} == {"add", "keyed"}
    assert [message.headers[LEDGER_HEADER] for message in found] == [[site.store.uuid, site.store.location]] * 2
    straight = site.app.conf.celeriac_outbox is False or site.broker.startswith("amqp")
    kept = 1 if straight else 2
    # The ledger is told after the broker has it.
    wait_for(
        lambda: [size.extra.get("relayed") for size in site.store.sizes() if size.queue == unread] == [kept], PATIENCE
    )
    assert site.store.purge(unread) == kept


# -- revoked, expired, purged


def test_what_was_revoked_while_it_waited_is_refused(site: BesideSite) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "late"), countdown=60)
    wait_for(site.queues, PATIENCE)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert lines(journal) == []


def test_what_has_expired_is_refused(site: BesideSite) -> None:
    journal = site.file()
    result = site.effect.apply_async((journal, "late"), expires=-1)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert lines(journal) == []


def test_purging_drops_what_the_ledger_would_send_later(site: BesideSite) -> None:
    result = site.effect.apply_async((site.file(), "late"), countdown=60)
    wait_for(site.queues, PATIENCE)
    assert site.app.control.purge() == 1
    assert (site.queues(), site.state(result.id)) == ({}, states.REVOKED)


# -- transactions


def test_a_transaction_sends_what_it_published_if_it_commits(site: BesideSite) -> None:
    if not site.database:
        with pytest.raises(TransactionError), site.app.transaction(object()):
            pass
        return
    journal = site.file()
    with closing(psycopg.connect(site.database)) as connection:
        with site.app.transaction(connection):
            undone = site.effect.delay(journal, "undone")
        connection.rollback()
        with site.app.transaction(connection):
            sent = site.effect.delay(journal, "sent")
        time.sleep(0.2)
        assert lines(journal) == []
        connection.commit()
    assert sent.get(timeout=PATIENCE) == "sent"
    assert (lines(journal), site.record(undone.id)) == (["sent"], None)


# -- left to Celery


def test_what_is_left_to_celery_is_run_and_leaves_nothing(site: BesideSite) -> None:
    journal = site.file()
    result = site.left_to_celery.delay(journal, "a")
    wait_line(journal, "a")
    assert result.get(timeout=PATIENCE) == "a"
    with pytest.raises(ValueError, match="b"):
        site.left_to_celery.delay(journal, "b", fails=True).get(timeout=PATIENCE)
    assert lines(journal) == ["a", "b"]
