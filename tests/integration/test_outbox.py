"""What is published in a transaction of another database goes to the broker after its commit, once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import chain, chord, group
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli.outbox import outbox
from celeriac.core.message import TaskMessage
from celeriac.core.workflow_state import State
from celeriac.errors import IdempotencyConflict, SettingsError, StoreError, StoreUnavailable, TransactionError
from celeriac.publish.relay import Relay
from celeriac.store.outbox import BATCH, decoded, encoded
from celeriac.store.tables import Outside, ddl
from celeriac.workflow.noting import Noting
from tests.integration.sites import PostgresSite, Site, lines
from tests.support import wait_for
from tests.support.plugin import PROGRAMS


class RolledBack(Exception):
    """Ends a transaction."""


class Shop:
    """A database of the application's, with an outbox in it."""

    def __init__(self, url: str, connect: Callable[[], Any]) -> None:
        self.url = url
        self.connect = connect

    def rows(self) -> int:
        with closing(self.connect()) as raw:
            return int(raw.execute("SELECT count(*) FROM celeriac_outbox").fetchone()[0])


@contextmanager
def _committed(raw: Any) -> Iterator[None]:
    """As drivers do at the end of a block, each in its own way."""
    try:
        yield
    except BaseException:
        raw.rollback()
        raise
    raw.commit()


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        path = tmp_path / "shop.db"
        with closing(sqlite3.connect(path)) as raw:
            raw.executescript(ddl("outbox", "sqlite") + "CREATE TABLE orders (id)")
        yield Shop(f"sqlite:///{path}", lambda: sqlite3.connect(path))
        return
    server, name = request.getfixturevalue("postgres_url"), f"shop_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            # As a URL, the way settings have it.
            url = f"{server.rpartition('/')[0]}/{name}"
            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute((ddl("outbox", "postgresql") + "CREATE TABLE orders (id int)").encode())
            yield Shop(url, lambda: psycopg.connect(url))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    server = request.param == "postgres" and request.getfixturevalue("postgres_url")
    site = PostgresSite(tmp_path, server) if server else Site(tmp_path)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()


@pytest.fixture
def embedded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Where it is the outbox that matters, and not the broker."""
    site = Site(tmp_path)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()


def _relay(app: Any, shop: Shop) -> Relay:
    return Relay(app, Outside(shop.url))


def test_a_worker_that_is_told_of_the_database_sends_what_was_committed(site: Site, shop: Shop) -> None:
    journal = site.file()
    site.settings["celeriac_outboxes"] = [shop.url]
    site.worker("prefork", concurrency=2)
    with closing(shop.connect()) as raw:
        with _committed(raw), site.app.transaction(raw):
            raw.execute("INSERT INTO orders VALUES (1)")
            first = site.effect.delay(journal, "first")
            keyed = [site.keyed.delay("k", journal) for _ in range(3)]
            steps = chain(site.add.s(1, 1), site.effect_of.s(journal)).delay()
            joined = chord([site.add.s(1, 1), site.add.s(2, 2)], site.collect.s()).delay()
            together = site.app.send_tasks(site.add.s(number, 1) for number in range(30))
            assert site.store.size("celery") == 0
        with suppress(RolledBack), _committed(raw), site.app.transaction(raw):
            site.effect.delay(journal, "never")
            raise RolledBack
    # Whoever came late under a key ends with the result of its holder.
    assert {result.get(timeout=60) for result in keyed} == {"k 0"}
    assert steps.get(timeout=60) == 2
    assert sorted(joined.get(timeout=60)) == [2, 4]
    assert [result.get(timeout=60) for result in together] == list(range(1, 31))
    site.wait_ended([first.id])
    assert sorted(lines(journal)) == ["2", "first", "k 0"]
    wait_for(lambda: shop.rows() == 0)


def test_a_chord_waits_in_the_outbox_with_its_members_or_leaves_nothing(embedded: Site, shop: Shop) -> None:
    """Its size, and the groups of its header, lie there too: in the ledger they would be open for ever."""
    site = embedded
    header = [site.add.s(1, 1), chain(site.add.s(1, 0), group(site.add.s(1), site.add.s(2)))]
    with closing(shop.connect()) as raw:
        with suppress(RolledBack), _committed(raw), site.app.transaction(raw):
            never = chord(header, site.collect.s()).delay()
            raise RolledBack
        assert not site.store.knows_chord(never.parent.id)
        assert site.store.get_group(never.parent.id) is None
        with _committed(raw), site.app.transaction(raw):
            sent = chord(header, site.collect.s()).delay()
    assert not site.store.knows_chord(sent.parent.id)
    with closing(Outside(shop.url)) as outside:
        assert Relay(site.app, outside).once() == 2
    assert site.store.knows_chord(sent.parent.id)
    with site.working():
        assert sent.get(timeout=60) == [2, [2, 3]]


def test_a_group_that_is_saved_in_a_transaction_is_saved_at_once(embedded: Site, shop: Shop) -> None:
    """No member need follow that would take it along."""
    with closing(shop.connect()) as raw, _committed(raw), embedded.app.transaction(raw):
        sent = group(embedded.add.s(1, 1), embedded.add.s(2, 2)).delay()
        sent.save()
    assert embedded.app.GroupResult.restore(sent.id) == sent


def test_what_lies_in_an_outbox_is_not_lost(embedded: Site, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first members have come and are over, and the others are kept somewhere for hours."""
    app, store = embedded.app, embedded.store
    monkeypatch.setattr("celeriac.store.outbox.BATCH", 30)
    with closing(shop.connect()) as raw, _committed(raw), app.transaction(raw):
        sent = group(embedded.add.s(number, 1) for number in range(40)).delay()
    with closing(Outside(shop.url)) as outside:
        assert Relay(app, outside).once() == 30
        store.ack([one.lease for one in store.claim(["celery"], 99, owner="somebody", lease=30.0)])
        monkeypatch.setattr("celeriac.workflow.noting.QUIET", -1.0)
        Noting().note(store)
        assert app.workflows.get(sent.workflow_id).state is State.LOST
        _wait_long(shop)
        with monkeypatch.context() as refusing:
            refusing.setattr(app.store, "publish", _refuse)
            assert Relay(app, outside).once() == 10
        assert app.workflows.get(sent.workflow_id).state is State.RUNNING, "they lie there still"
        monkeypatch.setattr("celeriac.workflow.noting.QUIET", 30.0)
        Noting().note(store)
        assert app.workflows.get(sent.workflow_id).state is State.RUNNING
        _pass_lease(shop)
        assert Relay(app, outside).once() == 10
    assert store.size("celery") == 10
    assert app.workflows.get(sent.workflow_id).state is State.RUNNING


def _refuse(*_: Any) -> None:
    raise IdempotencyConflict("add", "k", "another")


def _wait_long(shop: Shop) -> None:
    with closing(shop.connect()) as raw, _committed(raw):
        raw.execute("UPDATE celeriac_outbox SET written_at = written_at - 7200")


def _written(site: Site, shop: Shop, *published: Callable[[], Any]) -> list[Any]:
    with closing(shop.connect()) as raw, _committed(raw), site.app.transaction(raw):
        return [publish() for publish in published]


def test_a_relay_that_dies_after_the_task_has_settled_repeats_nothing(site: Site, shop: Shop) -> None:
    """Killed between the publish and the crossing out; the second copy comes when the first is long over."""
    journal = site.file()
    results = _written(
        site,
        shop,
        lambda: site.effect.delay(journal, "plain"),
        lambda: site.keyed.delay("k", journal),
        lambda: site.keyed.delay("k", journal),
    )
    with pytest.raises(SystemExit):
        _killed(_relay(site.app, shop))
    assert shop.rows() == 3
    site.worker("solo")
    site.wait_ended([result.id for result in results])
    before = {result.id: site.record(result.id) for result in results}
    again = _relay(site.app, shop)
    _pass_lease(shop)
    assert again.once() == 3
    again.outside.close()
    assert shop.rows() == 0
    site.wait_ended([result.id for result in results])
    assert sorted(lines(journal)) == ["k 0", "plain"]
    assert {result.id: site.record(result.id) for result in results} == before
    # The key is where it was: who publishes under it is given what was done.
    assert site.keyed.delay("k", journal).get(timeout=30) == "k 0"
    assert sorted(lines(journal)) == ["k 0", "plain"]


def _killed(relay: Relay) -> None:
    """Give the broker a batch, and die before that is noted."""

    def die(*_: Any) -> None:
        raise SystemExit

    relay.reader.sent = die  # type: ignore[method-assign,assignment]
    try:
        relay.once()
    finally:
        relay.outside.close()


def _pass_lease(shop: Shop) -> None:
    with closing(shop.connect()) as raw, _committed(raw):
        raw.execute("UPDATE celeriac_outbox SET taken_until = 0 WHERE taken_until IS NOT NULL")


RELAYING = """
import os, signal, sys
from celeriac import Celery
from celeriac.publish.relay import Relay
from celeriac.store.tables import Outside

app = Celery("site", broker=sys.argv[1])
relay = Relay(app, Outside(sys.argv[2]))
sent, number = relay.reader.sent, 0
def often(rows):
    global number
    number += 1
    if number == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    sent(rows)
relay.reader.sent = often
while relay.once():
    pass
"""


def test_relays_that_are_killed_again_and_again_lose_and_repeat_nothing(site: Site, shop: Shop) -> None:
    journal = site.file()
    count = 3 * BATCH
    with closing(shop.connect()) as raw, _committed(raw), site.app.transaction(raw):
        site.app.send_tasks(site.effect.s(journal, str(number)) for number in range(count))
    site.worker("solo")
    for turn in (1, 2, 1, 99):
        command = [sys.executable, "-c", RELAYING, site.url, shop.url, str(turn)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == (0 if turn == 99 else -signal.SIGKILL), done.stderr
        _pass_lease(shop)
    assert shop.rows() == 0
    wait_for(lambda: not site.queues(), 120)
    # In the order of their writing, each once.
    assert lines(journal) == [str(number) for number in range(count)]


def test_two_relays_do_not_mix_what_they_send(embedded: Site, shop: Shop) -> None:
    """The second waits for the first, though there is more than that one has taken."""
    count = BATCH + 3
    with closing(shop.connect()) as raw, _committed(raw), embedded.app.transaction(raw):
        embedded.app.send_tasks(embedded.add.s(1, 1) for _ in range(count))
    first, second = _relay(embedded.app, shop), _relay(embedded.app, shop)
    taken = first.reader.take()
    assert len(taken) == BATCH
    assert second.once() == 0
    first.reader.put_back(taken)
    assert [second.once(), second.once()] == [BATCH, 3]
    first.outside.close()
    second.outside.close()


def test_what_is_for_another_broker_is_left_alone(embedded: Site, shop: Shop, tmp_path: Path) -> None:
    _written(embedded, shop, lambda: embedded.add.delay(1, 1))
    other = Celery("other", broker=f"sqlite:///{tmp_path}/other.db", set_as_current=False)
    relay = _relay(other, shop)
    assert relay.once() == 0
    relay.outside.close()
    other.store.close()
    assert shop.rows() == 1


def test_a_broker_that_is_away_is_waited_for(embedded: Site, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(embedded, shop, *[lambda: embedded.add.delay(1, 1)] * 2)
    relay = _relay(embedded.app, shop)
    with monkeypatch.context() as patched:
        patched.setattr(embedded.store, "publish", _away)
        with pytest.raises(StoreUnavailable):
            relay.once()
    # Nobody has to wait for a lease.
    assert relay.once() == 2
    relay.outside.close()
    assert (shop.rows(), embedded.store.size("celery")) == (0, 2)


def _away(_messages: Any) -> None:
    raise StoreUnavailable("/data/broker.db", "gone")


def test_one_that_the_broker_refuses_stays_and_holds_up_nothing(
    embedded: Site, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = _written(embedded, shop, lambda: embedded.add.delay(1, 1), lambda: embedded.add.delay(2, 2))
    publish = embedded.store.publish

    def picky(messages: list[TaskMessage]) -> Any:
        if any(message.task_id == bad.id for message in messages):
            raise StoreError("/data/broker.db", "not this one")
        return publish(messages)

    monkeypatch.setattr(embedded.store, "publish", picky)
    relay = _relay(embedded.app, shop)
    assert relay.once() == 2
    assert relay.once() == 0
    (waiting,) = relay.reader.status()
    assert (waiting.waiting, waiting.refused) == (1, 1)
    assert "not this one" in (waiting.error or "")
    assert embedded.state(good.id) == "PENDING"
    monkeypatch.undo()
    _pass_lease(shop)
    assert relay.once() == 1
    relay.outside.close()
    assert embedded.store.size("celery") == 2


def test_a_conflict_that_shows_too_late_is_a_dead_letter(embedded: Site, shop: Shop) -> None:
    journal = embedded.file()
    (late,) = _written(embedded, shop, lambda: embedded.keyed.delay("k", journal, amount=2))
    first = embedded.keyed.delay("k", journal, amount=1)
    relay = _relay(embedded.app, shop)
    assert relay.once() == 1
    relay.outside.close()
    embedded.worker("solo")
    embedded.wait_ended([first.id, late.id])
    assert "IdempotencyConflict" in embedded.letter(late.id).error_type
    assert lines(journal) == ["k 1"]


def test_a_broker_that_is_no_store(shop: Shop) -> None:
    queue = f"q{uuid.uuid4().hex}"
    app = Celery("foreign", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = queue
    with closing(shop.connect()) as raw, _committed(raw), app.transaction(raw):
        sent = app.send_task("anything", (1, b"bytes"), {"x": "y"}, priority=3)
        members = group(app.signature("anything", (number,)) for number in range(3)).delay()
    with app.connection() as connection:
        assert connection.default_channel._size(queue) == 0
        relay = _relay(app, shop)
        assert relay.once() == 4
        relay.outside.close()
        channel = connection.default_channel
        got = [channel.basic_get(queue, no_ack=True) for _ in range(4)]
        decoded_first = got[0].headers["id"], got[0].decode()[:2]
    assert decoded_first == (sent.id, [[1, b"bytes"], {"x": "y"}])
    assert [message.headers["id"] for message in got[1:]] == [result.id for result in members]
    assert got[0].properties["priority"] == 3
    assert shop.rows() == 0
    app.close()


def test_the_worker_goes_on_when_the_database_was_away(embedded: Site, tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    embedded.settings["celeriac_outboxes"] = [f"sqlite:///{path}"]
    worker = embedded.worker("solo")
    wait_for(lambda: "cannot be emptied, trying on" in worker.log())
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(ddl("outbox", "sqlite"))
        with _committed(raw), embedded.app.transaction(raw):
            result = embedded.add.delay(1, 1)
    assert result.get(timeout=60) == 2


# -- the commands, and what they are told


@pytest.fixture
def cli(embedded: Site) -> Callable[..., Result]:
    def invoke(*arguments: str) -> Result:
        context = CLIContext(app=embedded.app, no_color=True, workdir=None)
        return CliRunner().invoke(outbox, list(arguments), obj=context)

    return invoke


def test_by_hand(embedded: Site, shop: Shop, cli: Callable[..., Result]) -> None:
    _written(embedded, shop, *[lambda: embedded.add.delay(1, 1)] * 3)
    (document,) = json.loads(cli("status", "--json", shop.url).stdout)
    assert (document["waiting"], document["queue"], document["ours"]) == (3, "celery", True)
    assert "celery: 3 messages, the oldest" in cli("status", shop.url).stdout
    assert "3 messages from" in cli("relay", shop.url).stdout
    assert "nothing waits" in cli("status", shop.url).stdout
    embedded.app.add_outbox(shop.url)
    assert "0 messages from" in cli("relay").stdout
    assert embedded.store.size("celery") == 3


def test_commands_say_what_is_wrong(embedded: Site, cli: Callable[..., Result], tmp_path: Path) -> None:
    assert "celeriac_outboxes" in cli("relay").stderr
    assert "mysql:// is no database" in cli("relay", "mysql://user:secret@host/db").stderr
    assert "secret" not in cli("relay", "mysql://user:secret@host/db").output
    missing = cli("relay", f"sqlite:///{tmp_path}/missing.db")
    assert missing.exit_code == 1
    assert "there is no such file" in missing.stderr
    with pytest.raises(SettingsError, match="no database that is known"):
        embedded.app.add_outbox("mongodb://host/db")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("table", ["outbox", "effect"])
def test_the_table_may_be_made_twice(table: str, dialect: str, request: pytest.FixtureRequest) -> None:
    text = ddl(table, dialect)
    if dialect == "sqlite":
        with closing(sqlite3.connect(":memory:")) as raw:
            raw.executescript(text + text)
    else:
        with psycopg.connect(request.getfixturevalue("postgres_url")) as server:
            server.execute((text + text).encode())
            server.rollback()


def test_without_the_table_it_says_what_makes_it(embedded: Site, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "bare.db")) as raw, pytest.raises(TransactionError, match="outbox sql"):
        embedded.app.transaction(raw).__enter__()


def test_a_message_is_the_same_after_its_way_through_text() -> None:
    message = TaskMessage("q", "[{}]", b"\xff\x00", task_id="t", name="n", priority=3, run_at=1.5, expires_at=2.5)
    back = decoded(encoded(message))
    assert (back.body, back.generation) == (b"\xff\x00", 0)
    back.generation = None
    assert back == message


def test_the_environment_names_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "CELERIAC_OUTBOXES", "sqlite:///a.db, postgresql://host/b")
    app = Celery("named", broker=f"sqlite:///{tmp_path}/n.db", set_as_current=False)
    assert app.outboxes == ["sqlite:///a.db", "postgresql://host/b"]
