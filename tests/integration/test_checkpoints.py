"""Long tasks in checkpoints: real workers that are stopped, killed, limited and full."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from celeriac.core.message import Lease
from celeriac.execution.keeping import Kept
from celeriac.execution.snoozing import GiveWay
from celeriac.store.tables import ddl
from tests.integration import longs  # noqa: F401  # its tasks
from tests.integration.keeping import Keep
from tests.integration.longs import copied
from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site, lines, open_gate, wait_line
from tests.support import wait_for
from tests.support.plugin import server
from tests.support.worker import Pool

PATIENCE = 60
SITES: dict[str, Callable[[Path], Site]] = {
    "sqlite": Site,
    "postgres": lambda folder: PostgresSite(folder, server("CELERIAC_POSTGRES_URL")),
    "redis": lambda folder: RedisSite(folder, server("CELERIAC_REDIS_URL")),
    "amqp-sqlite": lambda folder: BesideSite.of(folder, "amqp", "sqlite"),
}
POOLS: list[Pool] = ["prefork", "threads", "solo", "gevent"]


@pytest.fixture(params=SITES)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path))


def numbers(journal: str) -> list[int]:
    return [int(line) for line in lines(journal) if line.isdecimal()]


def runs(journal: str) -> int:
    return lines(journal).count("run")


def wait_rows(journal: str, at_least: int) -> None:
    wait_for(lambda: len(numbers(journal)) >= at_least, PATIENCE, lambda: f"{lines(journal)[-3:]}")


# -- given way


def test_a_task_gives_way_and_goes_on_where_it_was(anywhere: Site) -> None:
    """On each store, and beside a broker that is none: each row once, and no attempt more."""
    anywhere.worker("threads", concurrency=1)
    journal = anywhere.file()
    sent = anywhere.count_up.delay(journal, 30, 0.02, give_way=0.15)
    ended = anywhere.wait_ended([sent.id])[sent.id]
    assert (ended.state, ended.generation, ended.retries) == ("SUCCESS", 0, 0)
    assert numbers(journal) == list(range(30))
    assert runs(journal) > 1
    assert anywhere.attempts(sent.id) == []
    progress = sent.progress
    assert (progress.done, progress.total, progress.fraction) == (30, 30, 1.0)


def test_it_gives_way_to_what_waits_behind_it(site: Site) -> None:
    journal = site.file()
    long = site.count_up.delay(journal, 40, 0.02, give_way=0.1)
    others = [site.effect.delay(journal, f"other {number}") for number in range(5)]
    site.worker("solo")
    site.wait_ended([long.id, *(other.id for other in others)])
    told = lines(journal)
    assert told.index("other 4") < told.index("39")
    assert numbers(journal) == list(range(40))


def test_a_body_that_swallows_everything_gives_way_all_the_same(site: Site) -> None:
    site.worker("threads", concurrency=1)
    journal = site.file()
    sent = site.swallow.delay(journal, 15)
    site.wait_ended([sent.id])
    assert numbers(journal) == list(range(15))


def test_a_coroutine_goes_on_too(site: Site) -> None:
    site.worker("prefork")
    journal = site.file()
    sent = site.count_up_async.delay(journal, 25)
    assert sent.get(timeout=PATIENCE) == 25
    assert numbers(journal) == list(range(25))


# -- deploys


@pytest.mark.parametrize("pool", POOLS)
def test_a_deploy_waits_for_no_more_than_the_row_in_hand(site: Site, pool: Pool) -> None:
    """The worker ends at once, and the next one goes on; nothing is repeated, and nothing counted."""
    worker = site.worker(pool)
    journal = site.file()
    sent = site.count_up.delay(journal, 100, 0.02, every=60)
    wait_rows(journal, 5)
    worker.terminate(20)
    before = len(numbers(journal))
    assert before < 100
    found = site.store.checkpoints([sent.id])[sent.id]
    assert found.done == before
    site.worker(pool)
    site.wait_ended([sent.id])
    assert numbers(journal) == list(range(100))
    assert site.attempts(sent.id) == []


# -- crashes


def test_a_killed_worker_repeats_no_more_than_a_checkpoint(site: Site) -> None:
    journal = site.file()
    sent = site.count_up.delay(journal, 60, 0.02)
    for kill in range(2):
        worker = site.worker("prefork")
        wait_rows(journal, 15 * (kill + 1))
        worker.kill()
    site.worker("prefork")
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    seen = Counter(numbers(journal))
    assert sorted(seen) == list(range(60))
    # A checkpoint is 0.05 s, and a row 0.02 s; the save itself takes its time.
    assert sum(seen.values()) - 60 <= 2 * 10
    assert {attempt.outcome for attempt in site.attempts(sent.id)} == {"crashed"}


def test_a_task_that_comes_further_is_never_buried(site: Site) -> None:
    """Six crashes of its process, of which three in a row would be poison."""
    site.worker("prefork")
    journal = site.file()
    sent = site.crash_at.delay(journal, 30, -1, 5)
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    assert sorted(set(numbers(journal))) == list(range(30))
    assert len(site.attempts(sent.id)) == 6


def test_one_that_crashes_at_the_same_row_is_buried(site: Site) -> None:
    """Also where the row is far behind the last checkpoint: a careful run comes up to it."""
    site.worker("prefork")
    journal = site.file()
    sent = site.crash_at.delay(journal, 1000, 40)
    site.wait_ended([sent.id])
    letter = site.letter(sent.id)
    assert letter.reason == "poison"
    assert len([attempt for attempt in letter.attempts if attempt.outcome == "crashed"]) <= 5
    assert site.store.checkpoints([sent.id])[sent.id].done == 40


# -- time limits


def test_it_gives_way_before_its_time_limit(site: Site) -> None:
    site.worker("prefork")
    journal = site.file()
    sent = site.count_up.apply_async((journal, 80, 0.02), {"give_way": 600}, soft_time_limit=1, time_limit=20)
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    assert numbers(journal) == list(range(80))
    assert runs(journal) > 1


def test_a_soft_limit_in_a_row_repeats_that_row(site: Site) -> None:
    site.worker("threads")
    journal = site.file()
    sent = site.stop_softly.delay(journal, 10)
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    assert sorted(Counter(numbers(journal)).items()) == [(n, 2 if n in (3, 6, 9) else 1) for n in range(10)]
    assert site.attempts(sent.id) == []


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_hard_limit_in_a_row_is_no_end_where_rows_were_done(site: Site, pool: Pool) -> None:
    """And is one in the run that has done none: the row will not end."""
    site.worker(pool)
    journal, other = site.file(), site.file()
    goes_on = site.hang_at.apply_async((journal, 15, 10, 1), time_limit=2)
    ends = site.hang_at.apply_async((other, 15, 0, 9), time_limit=1)
    ended = site.wait_ended([goes_on.id, ends.id])
    assert (ended[goes_on.id].state, ended[ends.id].state) == ("SUCCESS", "FAILURE")
    assert lines(journal).count("hangs") == 1
    assert numbers(journal) == list(range(15))
    assert site.attempts(goes_on.id) == []
    assert site.letter(ends.id).reason == "time-limit"
    assert lines(other) == ["hangs"]


# -- retries and dead letters


def test_a_redrive_goes_on_behind_what_was_done(site: Site) -> None:
    site.worker("threads")
    journal, flag = site.file(), site.file("flag")
    sent = site.count_items.delay(journal, ["a", "b", "bad", "c"], flag)
    site.wait_ended([sent.id])
    assert lines(journal) == ["a", "b"]
    open_gate(flag)
    site.app.dead_letters.redrive(sent.id)
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    assert lines(journal) == ["a", "b", "bad", "c"]


def test_a_redrive_with_other_arguments_goes_on_too_unless_told_otherwise(site: Site) -> None:
    site.worker("threads")
    journal, flag = site.file(), site.file("flag")
    first, second = (site.count_items.delay(journal, ["a", "b", "bad"], flag) for _ in range(2))
    site.wait_ended([first.id, second.id])
    Path(journal).unlink()
    site.app.dead_letters.redrive(first.id, values={"items": ["x", "y", "z"]})
    site.wait_ended([first.id])
    assert lines(journal) == ["z"]
    site.app.dead_letters.redrive(second.id, values={"items": ["x", "y", "z"]}, from_start=True)
    site.wait_ended([second.id])
    assert lines(journal) == ["z", "x", "y", "z"]
    assert "from the start" in (site.app.dead_letters.log(second.id)[-1].note or "")


def test_a_retry_goes_on_in_the_step_where_it_was(site: Site) -> None:
    site.worker("threads")
    journal = site.file()
    sent = site.two_steps.delay(journal, site.file("flag"))
    assert sent.get(timeout=PATIENCE) == "done"
    assert lines(journal) == ["a", "b", "c", "d"]
    assert site.wait_ended([sent.id])[sent.id].retries == 1


# -- progress


def test_progress_is_read_while_the_body_is_silent(site: Site) -> None:
    site.worker("threads")
    journal, gate = site.file(), site.file("gate")
    sent = site.tell.delay(journal, gate)
    wait_line(journal, "told")
    wait_for(lambda: sent.progress is not None, PATIENCE, "no progress was written")
    assert (sent.progress.done, sent.progress.total, sent.progress.note) == (3, 10, "three of ten")
    assert sent.state == "STARTED"
    open_gate(gate)
    site.wait_ended([sent.id])
    assert (sent.progress.done, sent.progress.note) == (10, None)


def test_the_last_word_is_written_with_the_end(site: Site) -> None:
    site.worker("threads")
    sent = site.tell_and_fail.delay()
    site.wait_ended([sent.id])
    assert sent.progress.done == 3


def test_what_cannot_be_done_is_said(site: Site) -> None:
    site.worker("threads")
    for name, said in (
        ("unbound", "declare it with bind=True"),
        ("not_durable", "durable=False leaves the task to Celery"),
        ("too_large", "100,0.. characters of JSON, of 65,536 at most"),
        ("bad_source", "cannot begin a list_iterator in the middle"),
    ):
        with pytest.raises(Exception, match=said):
            getattr(site, name).delay().get(timeout=PATIENCE)


# -- in the application's own transaction


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = str(tmp_path / "shop.db")
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(ddl("effect", "sqlite") + "CREATE TABLE copied (id INTEGER); PRAGMA journal_mode = wal")
    return path


def test_each_rows_effect_happens_once_in_its_own_transaction(site: Site, shop: str) -> None:
    """However often, and wherever, the worker is killed."""
    sent = site.copy_rows.delay(shop, 150, 7, 0.02)
    for kill in range(2):
        worker = site.worker("solo")
        reached = 30 * (kill + 1)
        wait_for(lambda: len(list(copied(shop))) >= reached, PATIENCE, "no rows come")  # noqa: B023  # called at once
        worker.kill()
    site.worker("solo")
    assert site.wait_ended([sent.id])[sent.id].state == "SUCCESS"
    assert list(copied(shop)) == list(range(150))


def test_the_cursor_moves_with_a_transaction_on_postgresql() -> None:
    """By who has read it, or has moved it before: with a driver, and with SQLAlchemy."""
    url, schema = server("CELERIAC_POSTGRES_URL"), f"kept_{uuid.uuid4().hex[:12]}"
    options = f"-csearch_path={schema}"
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute(f"CREATE SCHEMA {schema}".encode())
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1), connect_args={"options": options}
    )
    try:
        with psycopg.connect(url, options=options) as one, Session(engine) as other:
            one.execute(ddl("effect", "postgresql").encode())
            one.commit()
            stalled, heir = kept(one, 1), kept(other, 2)
            assert one.info.transaction_status == 0
            with other.begin():
                heir.save([1, "a"], 1)
            with pytest.raises(GiveWay):
                stalled.save([1, "a"], 1)
            one.rollback()
            with other.begin():
                heir.save([2, "b"], 2)
            again = kept(one, 3)
            assert (again.cursor, again.done) == ([2, "b"], 2)
    finally:
        engine.dispose()
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def kept(connection: Any, token: int) -> Kept:
    request = SimpleNamespace(id="a", args=(), kwargs={})
    return Kept(SimpleNamespace(name="copy", key_template=None, request=request), "rows", connection, Lease(7, token))
