"""What is published while the broker is away is kept in a file of the machine, and sent when it is back."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import chain, chord, group
from celery.bin.base import CLIContext
from click.testing import CliRunner

from celeriac import BrokerUnavailable, Celery
from celeriac.cli.outbox import outbox
from celeriac.core.message import WORKFLOW_HEADER, Published, TaskMessage
from celeriac.core.workflow import Membership
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from celeriac.errors import SettingsError, StoreUnavailable, TransactionError
from celeriac.publish import local as local_module
from celeriac.worker.outboxes import Relaying
from tests.integration.keeping import Keep
from tests.integration.sites import PostgresSite, Site, counts, lines
from tests.support import free_port, wait_for


class Spare:
    """The file, and a switch for the broker."""

    def __init__(self, site: Site, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.site = site
        self._patch = monkeypatch
        self._publish = site.store.publish
        monkeypatch.setattr(local_module, "AWAY", 600.0)  # however slow the machine is

    def rows(self) -> int:
        if not self.path.exists():
            return 0
        with closing(sqlite3.connect(self.path)) as raw:
            return int(raw.execute("SELECT count(*) FROM celeriac_outbox").fetchone()[0])

    def away(self, *, heard: bool = False) -> None:
        """No answer comes from the broker any more; ``heard`` if it gets the message all the same."""

        def publish(messages: list[TaskMessage]) -> list[Published]:
            if heard:
                self._publish(messages)
            raise StoreUnavailable(self.site.store.location, "no answer")

        self._patch.setattr(self.site.store, "publish", publish)

    def back(self) -> None:
        self._patch.setattr(self.site.store, "publish", self._publish)
        self._patch.setattr(local_module, "AWAY", 0.0)
        local = self.site.app.local_outbox
        assert local is not None
        local._away_until = 0.0


@pytest.fixture(params=["sqlite", "postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest, keep: Keep) -> Site:
    server = request.param == "postgres" and request.getfixturevalue("postgres_url")
    site = keep(PostgresSite(tmp_path, server) if server else Site(tmp_path))
    site.app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/spare.db"
    return site


@pytest.fixture
def spare(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spare:
    return Spare(site, tmp_path / "spare.db", monkeypatch)


def test_it_goes_with_the_next_that_is_sent(site: Site, spare: Spare, caplog: pytest.LogCaptureFixture) -> None:
    journal = site.file()
    spare.away()
    kept = [site.effect.delay(journal, str(number)) for number in range(20)]
    delayed = site.effect.apply_async((journal, "late"), countdown=3600, priority=7)
    keyed = [site.keyed.delay("k", journal) for _ in range(2)]
    together = site.app.send_tasks(site.effect.s(journal, f"bulk {number}") for number in range(30))
    members = group(site.add.s(number, 1) for number in range(3)).delay()
    assert len([text for text in caplog.messages if "the broker is away" in text]) == 1
    assert spare.rows() == 56
    spare.back()
    after = site.effect.delay(journal, "after")
    wait_for(lambda: spare.rows() == 0)
    assert site.queues()["celery"].delayed >= 1
    site.worker("solo")
    for result in (*kept, *keyed, *together, after):
        result.get(timeout=60)
    assert members.get(timeout=60) == [1, 2, 3]
    # In the order they were published in, each once.
    first = [line for line in lines(journal) if line.isdecimal()]
    assert first == [str(number) for number in range(20)]
    assert max(counts(journal).values()) == 1
    assert keyed[1].get(timeout=30) == "k 0"
    assert site.state(delayed.id) == "PENDING"


def test_one_that_the_broker_has_after_all_runs_once(site: Site, spare: Spare) -> None:
    journal = site.file()
    site.worker("solo")
    spare.away(heard=True)
    plain = site.effect.delay(journal, "plain")
    local = site.app.local_outbox
    assert local is not None
    local._away_until = 0.0
    keyed = site.keyed.delay("k", journal)
    wait_for(lambda: sorted(lines(journal)) == ["k 0", "plain"], 60)
    site.wait_ended([plain.id])
    spare.back()
    last = site.effect.delay(journal, "last")
    wait_for(lambda: spare.rows() == 0)
    site.wait_ended([plain.id, keyed.id, last.id])
    assert sorted(lines(journal)) == ["k 0", "last", "plain"]
    assert keyed.get(timeout=30) == "k 0"


def test_a_canvas_keeps_its_record(site: Site, spare: Spare) -> None:
    spare.away()
    chained = chain(site.add.s(1, 1), site.add.s(1)).apply_async()
    together = group(site.add.s(1, number) for number in range(FOLDED_ABOVE + 1)).apply_async()
    spare.back()
    local = site.app.local_outbox
    assert local is not None
    with closing(local.outside):
        assert local.relay().once() == FOLDED_ABOVE + 2
    assert [site.app.workflows.get(sent.workflow_id).size for sent in (chained, together)] == [2, FOLDED_ABOVE + 1]
    claimed = site.store.claim(["celery"], 99, owner="somebody", lease=30.0)
    parts = [Membership.from_header(json.loads(one.envelope)[0][WORKFLOW_HEADER]) for one in claimed]
    assert parts == [
        Membership(chained.workflow_id),
        *[Membership(together.workflow_id, folded=together.id)] * (FOLDED_ABOVE + 1),
    ]


def test_a_worker_of_the_machine_sends_what_a_process_left(site: Site, spare: Spare) -> None:
    journal = site.file()
    spare.away()
    kept = site.effect.delay(journal, "left")
    site.settings["celeriac_local_outbox"] = f"sqlite:///{spare.path}"
    site.worker("solo")
    assert kept.get(timeout=60) == "left"
    wait_for(lambda: spare.rows() == 0)


def test_a_file_that_nobody_has_made_yet_holds_nothing(
    site: Site, spare: Spare, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker of a fresh service has nothing to warn of, and sends what comes into the file later."""
    local = site.app.local_outbox
    assert local is not None
    stop = threading.Event()
    relaying = threading.Thread(target=Relaying(local.relay(), stop).run)
    relaying.start()
    try:
        command = CliRunner().invoke(outbox, ["status"], obj=CLIContext(site.app, no_color=True, workdir=None))
        assert (command.exit_code, "nothing waits" in command.output) == (0, True), command.output
        assert not spare.path.exists()
        spare.away()
        site.effect.delay(site.file(), "late")
        assert spare.rows() == 1
        spare.back()
        wait_for(lambda: spare.rows() == 0)
    finally:
        stop.set()
        relaying.join()
        local.outside.close()
    assert "no such file" not in caplog.text


def test_a_server_that_was_never_there(tmp_path: Path) -> None:
    """Not even the store can be opened."""
    app = Celery("early", broker=f"postgresql://nobody@127.0.0.1:{free_port()}/none", set_as_current=False)
    with pytest.raises(BrokerUnavailable, match=r"is not known.*safe under an idempotency key"):
        app.send_task("anything")
    app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/early.db"
    sent = [app.send_task("anything", (number,)) for number in range(2)]
    sent.append(app.send_task("anything", (2,), countdown=60))
    sent += list(app.send_tasks(app.signature("anything", (number,)) for number in range(2)))
    sent += group(app.signature("anything", (number,)) for number in range(2)).delay()
    with closing(sqlite3.connect(tmp_path / "early.db")) as raw:
        kept = [row[0] for row in raw.execute("SELECT task_id FROM celeriac_outbox ORDER BY id")]
        (destination,) = {row[0] for row in raw.execute("SELECT destination FROM celeriac_outbox")}
    assert kept == [result.id for result in sent]
    assert destination == app.broker_name
    app.close()


def test_what_waits_is_shown_while_the_broker_is_away(tmp_path: Path) -> None:
    app = Celery("dark", broker=f"postgresql://nobody@127.0.0.1:{free_port()}/none", set_as_current=False)
    app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/kept.db"
    app.send_task("anything", (1,))
    context = CLIContext(app, no_color=True, workdir=None)
    told = CliRunner().invoke(outbox, ["status"], obj=context)
    assert (told.exit_code, "celery: 1 message, the oldest" in told.output) == (0, True), told.output
    [document] = json.loads(CliRunner().invoke(outbox, ["status", "--json"], obj=context).stdout)
    assert (document["ours"], document["waiting"]) == (True, 1)
    foreign = CliRunner().invoke(outbox, ["relay"], obj=context)
    assert (foreign.exit_code, "not available" in foreign.output) == (1, True), foreign.output


def test_a_broker_that_is_no_store(tmp_path: Path) -> None:
    queue = f"q{uuid.uuid4().hex}"
    url = f"sqlite:///{tmp_path}/foreign.db"
    gone = Celery("foreign", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    gone.conf.update(celeriac_local_outbox=url, task_default_queue=queue, broker_transport_options={"max_retries": 0})
    gone.conf.task_publish_retry = False
    sent = gone.send_task("anything", (1,))
    back = Celery("foreign", broker="memory://", set_as_current=False)
    back.conf.update(celeriac_local_outbox=url, task_default_queue=queue)
    assert back.local_outbox is not None
    # It was meant for another broker.
    assert back.local_outbox.relay().once() == 0
    with closing(sqlite3.connect(tmp_path / "foreign.db", isolation_level=None)) as raw:
        raw.execute("UPDATE celeriac_outbox SET destination = ?", (back.broker_name,))
    assert back.local_outbox.relay().once() == 1
    with back.connection() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
        assert message.headers["id"] == sent.id
    gone.close()
    back.close()


def test_what_belongs_to_a_transaction_is_not_kept_elsewhere(tmp_path: Path, postgres_url: str) -> None:
    site = PostgresSite(tmp_path, postgres_url)
    site.app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/spare.db"
    try:
        with psycopg.connect(postgres_url) as connection, site.app.transaction(connection):
            connection.execute("SELECT 1")
            site.add.delay(1, 1)
            connection.rollback()
        assert site.store.size("celery") == 0
        with psycopg.connect(postgres_url) as connection, site.app.transaction(connection):
            connection.close()
            with pytest.raises((psycopg.Error, TransactionError)):
                site.add.delay(1, 1)
        assert not (tmp_path / "spare.db").exists()
    finally:
        site.close()


def test_a_file_that_cannot_be_written_says_so(site: Site, spare: Spare, tmp_path: Path) -> None:
    site.app.conf.celeriac_local_outbox = f"sqlite:///{tmp_path}/missing/spare.db"
    spare.away()
    with pytest.raises(BrokerUnavailable, match=r"missing/spare\.db"):
        site.add.delay(1, 1)


@pytest.mark.parametrize("url", ["postgresql://host/db", 5])
def test_what_is_no_file_is_refused(tmp_path: Path, url: Any) -> None:
    app = Celery("wrong", broker=f"sqlite:///{tmp_path}/w.db", set_as_current=False)
    check: Callable[[], Any] = lambda: app.local_outbox  # noqa: E731
    app.conf.celeriac_local_outbox = url
    with pytest.raises(SettingsError, match="celeriac_local_outbox"):
        check()


def _away(outbox: Path) -> Celery:
    """An app whose broker does not answer."""
    return Celery(
        "shop",
        broker=f"redis+streams://127.0.0.1:{free_port()}/0",
        celeriac_local_outbox=f"sqlite:///{outbox}",
        celeriac_publish_timeout=2.0,
        set_as_current=False,
    )


def test_a_chord_is_not_kept_without_its_join(tmp_path: Path) -> None:
    app = _away(tmp_path / "unsent.db")

    @app.task(name="add", shared=False)
    def add(number: int) -> int:
        return number

    with pytest.raises(StoreUnavailable):
        chord([add.s(1), add.s(2)], add.si(3)).delay()
    assert add.delay(1).id
    with closing(sqlite3.connect(tmp_path / "unsent.db")) as raw:
        assert raw.execute("SELECT count(*) FROM celeriac_outbox").fetchone() == (1,)


def test_where_it_cannot_be_kept_either_that_is_a_brokers_error(tmp_path: Path) -> None:
    app = _away(tmp_path / "no folder" / "unsent.db")
    with pytest.raises(BrokerUnavailable, match="no folder"):
        app.send_task("add", (1,))
