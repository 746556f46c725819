"""Long chains, whose rests are in the store: they end as Celery's do, whatever is in them and whatever happens between."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group, states
from celery.exceptions import ChordError

from celeriac import WorkflowBlocked
from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.chains import SHORT, standing_for
from celeriac.core.desk import By
from celeriac.desk.export import export, import_
from celeriac.desk.redrive import redrive
from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site, counts, lines, open_gate
from tests.support import wait_for
from tests.support.plugin import PROGRAMS, server

PATIENCE = 60
#: Steps of a chain whose rest is kept.
LONG = SHORT + 10
ME = By("tester@host")
ALL = DeadLetterFilter()


@pytest.fixture(scope="module", params=["sqlite", "postgres", "redis"])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("chains")
    if request.param == "sqlite":
        site = Site(folder)
    elif request.param == "postgres":
        site = PostgresSite(folder, server("CELERIAC_POSTGRES_URL"))
    else:
        site = RedisSite(folder, server("CELERIAC_REDIS_URL"))
    site.worker("threads", concurrency=2)
    yield site
    site.close()


@pytest.fixture
def everywhere(shared_site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    request.node.stash[PROGRAMS] = shared_site.workers
    yield shared_site
    _purge(shared_site)


def adding(site: Site, steps: int = LONG) -> list[Any]:
    """Steps that add one each."""
    return [site.add.s(1) for _ in range(steps)]


# -- what is in them


def test_a_long_chain_ends(everywhere: Site) -> None:
    assert chain(everywhere.add.s(0, 1), *adding(everywhere)).delay().get(timeout=PATIENCE) == LONG + 1


def test_a_group_in_the_middle(everywhere: Site) -> None:
    site = everywhere
    middle = group(site.add.s(1), site.add.s(2))
    sent = chain(site.add.s(0, 1), *adding(site), middle, site.sum_up.s(), *adding(site)).delay()
    assert sent.get(timeout=PATIENCE) == (LONG + 2) + (LONG + 3) + LONG


def test_a_group_at_the_beginning_and_at_the_end(everywhere: Site) -> None:
    site = everywhere
    first, last = group(site.add.s(1, 1), site.add.s(2, 2)), group(site.add.s(1), site.add.s(2))
    assert chain(first, site.sum_up.s(), *adding(site), last).delay().get(timeout=PATIENCE) == [LONG + 7, LONG + 8]


def test_a_chord_with_a_long_body_and_long_members(everywhere: Site) -> None:
    site = everywhere
    member = chain(site.add.s(1, 1), *adding(site))
    body = chain(site.sum_up.s(), *adding(site))
    assert chord([site.add.s(1, 1), member], body).delay().get(timeout=PATIENCE) == 2 + (LONG + 2) + LONG


def test_a_chain_in_a_chain(everywhere: Site) -> None:
    site = everywhere
    sent = chain(site.add.s(0, 1), chain(*adding(site)), *adding(site, 3)).delay()
    assert sent.get(timeout=PATIENCE) == 1 + LONG + 3


def test_a_step_that_is_replaced(everywhere: Site) -> None:
    site = everywhere
    by_another = chain(site.add.s(0, 1), *adding(site), site.swap.si(5, 6), *adding(site)).delay()
    by_a_group = chain(site.add.s(0, 1), site.swap_for_group.s(), site.sum_up.s(), *adding(site)).delay()
    assert by_another.get(timeout=PATIENCE) == 11 + LONG
    assert by_a_group.get(timeout=PATIENCE) == 2 + 3 + LONG


def test_a_step_that_is_replaced_by_a_long_chain(everywhere: Site) -> None:
    site = everywhere
    sent = chain(site.add.s(0, 1), site.swap_for_long_chain.s(LONG), *adding(site)).delay()
    last = chain(site.add.s(0, 1), *adding(site), site.swap_for_long_chain.s(LONG)).delay()
    assert sent.get(timeout=PATIENCE) == 1 + LONG + LONG
    assert last.get(timeout=PATIENCE) == 1 + LONG + LONG


def test_a_step_that_is_tried_again(everywhere: Site) -> None:
    site = everywhere
    journal = site.file()
    sent = chain(site.add.s(0, 1), site.autoretry.si(2, journal), *[site.add.si(n, 0) for n in range(LONG)]).delay()
    assert sent.get(timeout=PATIENCE) == LONG - 1


def test_a_task_without_a_ledger_goes_on_too(everywhere: Site) -> None:
    """Celery alone sees to it, and sends on what stands for the rest: so would a worker of stock Celery."""
    site = everywhere
    journal = site.file()
    steps = [site.left_to_celery.si(journal, "first"), *[site.effect.si(journal, f"{n}") for n in range(LONG)]]
    sent = chain(*steps).delay()
    assert sent.get(timeout=PATIENCE) == f"{LONG - 1}"
    assert counts(journal) == {"first": 1, **{f"{n}": 1 for n in range(LONG)}}


def test_callbacks_of_the_whole_chain(everywhere: Site) -> None:
    site = everywhere
    journal = site.file()
    whole = chain(site.add.s(0, 1), *adding(site))
    whole.link(site.effect_after.s(journal, "linked"))
    whole.delay().get(timeout=PATIENCE)
    wait_for(lambda: lines(journal) == ["linked"], PATIENCE)


# -- failures


def test_all_that_follows_fails_with_a_step(everywhere: Site) -> None:
    site = everywhere
    journal = site.file()
    steps = [site.add.s(0, 1), *adding(site, 3), site.fail.si("broken"), *adding(site)]
    whole = chain(*steps)
    whole.link_error(site.effect_after.si(None, journal, "told"))
    last = whole.delay()
    with pytest.raises((WorkflowBlocked, ValueError), match="broken"):
        last.get(timeout=PATIENCE)
    states_ = [node.state for node in _nodes(last)]
    assert states_ == [states.FAILURE] * (LONG + 1) + [states.SUCCESS] * 4
    wait_for(lambda: lines(journal) == ["told"], PATIENCE)


def test_a_chord_fails_with_its_long_member(everywhere: Site) -> None:
    site = everywhere
    member = chain(site.add.s(1, 1), site.fail.si("broken"), *adding(site))
    sent = chord([site.add.s(1, 1), member], chain(site.sum_up.s(), *adding(site))).delay()
    with pytest.raises(ChordError, match="broken"):
        sent.get(timeout=PATIENCE)


def test_a_dead_letter_goes_on_with_its_chain_though_all_else_was_pruned(everywhere: Site) -> None:
    site = everywhere
    gate = site.file("gate")
    last = chain(site.add.s(0, 1), *adding(site, 3), site.pass_through.s(gate), *adding(site)).delay()
    # A parent that has ended by then speaks for itself.
    with pytest.raises((WorkflowBlocked, ValueError), match="shut"):
        last.get(timeout=PATIENCE)
    [letter] = site.letters()
    _prune_all(site)
    assert site.store.chains_needed_by(letter.task_id)
    open_gate(gate)
    assert [step.done for step in redrive(site.app, ALL, ME)] == [1]
    wait_for(lambda: site.state(last.id) == states.SUCCESS, PATIENCE)
    assert site.app.AsyncResult(last.id).get(timeout=PATIENCE) == 4 + LONG
    site.wait_ended([last.id])
    _prune_all(site)
    assert site.store.chains_needed_by(letter.task_id) == []


def test_an_exported_dead_letter_brings_its_chain_along(everywhere: Site) -> None:
    site = everywhere
    gate = site.file("gate")
    last = chain(site.add.s(0, 1), site.pass_through.s(gate), *adding(site)).delay()
    # A parent that has ended by then speaks for itself.
    with pytest.raises((WorkflowBlocked, ValueError), match="shut"):
        last.get(timeout=PATIENCE)
    text = io.StringIO()
    assert export(site.store, ALL, text, ME) == 1
    _purge(site)
    _prune_all(site)
    text.seek(0)
    assert [step.done for step in import_(site.store, text, ME)] == [1]
    open_gate(gate)
    list(redrive(site.app, ALL, ME))
    wait_for(lambda: site.state(last.id) == states.SUCCESS, PATIENCE)
    assert site.app.AsyncResult(last.id).get(timeout=PATIENCE) == 1 + LONG


def test_what_cannot_go_on_is_not_begun(everywhere: Site) -> None:
    site = everywhere
    journal, last = site.file(), site.app.AsyncResult(f"last-{id(site)}")
    sent = site.effect.apply_async((journal, "begun"), chain=[standing_for("nowhere", 3, {"task_id": last.id})])
    with pytest.raises(Exception, match="nowhere"):
        sent.get(timeout=PATIENCE)
    with pytest.raises(Exception, match="nowhere"):
        last.get(timeout=PATIENCE)
    assert lines(journal) == []
    assert site.letter(sent.id).reason == "inadmissible"


# -- what travels


def test_messages_do_not_grow_with_the_chain(site: Site) -> None:
    steps = 100
    with site.store.database.writing() as raw:  # type: ignore[attr-defined]  # it is SQLite's
        raw.execute("CREATE TABLE size (bytes INTEGER NOT NULL) STRICT")
        raw.execute(
            "CREATE TRIGGER sizes AFTER INSERT ON message WHEN new.name = 'add' BEGIN "
            "INSERT INTO size VALUES (length(new.envelope) + length(new.body)); END"
        )
    sent = chain(site.add.s(100, 100), *[site.add.si(100, 100) for _ in range(steps - 1)]).delay()
    site.worker("solo")
    assert sent.get(timeout=PATIENCE) == 200
    with site.store.database.reading() as raw:  # type: ignore[attr-defined]  # it is SQLite's
        largest, smallest, count = raw.execute("SELECT max(bytes), min(bytes), count(*) FROM size").fetchone()
    assert count == steps
    assert largest <= 1.2 * smallest


def test_a_short_chain_travels_whole(site: Site) -> None:
    sent = chain(site.add.s(0, 1), *adding(site, SHORT)).delay()
    assert site.store.chains_needed_by(_first(sent)) == []
    sent = chain(site.add.s(0, 1), *adding(site, SHORT + 1)).delay()
    assert len(site.store.chains_needed_by(_first(sent))[0].steps) == SHORT + 1


def test_members_of_a_chord_keep_its_body_once(site: Site) -> None:
    body = chain(site.sum_up.s(), *adding(site))
    chord([site.add.si(n, n) for n in range(30)], body).delay()
    with site.store.database.reading() as raw:  # type: ignore[attr-defined]  # it is SQLite's
        chains, steps = raw.execute("SELECT (SELECT count(*) FROM chain), (SELECT count(*) FROM chain_step)").fetchone()
        largest = raw.execute("SELECT max(length(body)) FROM message").fetchone()[0]
    assert (chains, steps) == (1, LONG)
    assert largest < 3_000


@pytest.mark.parametrize("outer", ["rolled back", "committed"])
def test_in_somebody_elses_transaction_it_travels_whole(site: Site, outer: str) -> None:
    """Its outbox may lead elsewhere, where no rest is."""
    assert site.store.uuid, "it is there before the transaction"
    with closing(sqlite3.connect(site.url.removeprefix("sqlite:///"))) as mine:
        mine.execute("BEGIN IMMEDIATE")
        with site.app.transaction(mine):
            sent = chain(site.add.s(0, 1), *adding(site)).delay()
        mine.commit() if outer == "committed" else mine.rollback()
    assert site.store.chains_needed_by(_first(sent)) == []
    if outer == "committed":
        site.worker("solo")
        assert site.app.AsyncResult(sent.id).get(timeout=PATIENCE) == LONG + 1


# -- deaths


@pytest.mark.parametrize("point", ["in-transaction", "settled"])
def test_a_worker_dies_between_steps(site: Site, point: str) -> None:
    journal = site.file()
    steps = [f"step {number}" for number in range(LONG)]
    sent = chain(*[site.effect.si(journal, step) for step in steps]).delay()
    worker = site.worker("solo", wait=False, break_at=point)
    worker.wait()
    worker.close()
    done = [site.app.AsyncResult(task_id).result for task_id in site.ended([node.id for node in _nodes(sent)])]
    before = lines(journal)
    site.worker("solo")
    site.wait_ended([node.id for node in _nodes(sent)])
    assert site.state(sent.id) == states.SUCCESS
    assert set(lines(journal)) == set(steps)
    assert not set(lines(journal)[len(before) :]) & set(done), "what had settled ran again"
    assert site.letters() == []


def test_beside_another_broker(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What the ledger sends names what it keeps."""
    site = BesideSite.of(tmp_path, "amqp", "sqlite")
    request.node.stash[PROGRAMS] = site.workers
    try:
        site.worker("threads", concurrency=2)
        sent = chain(site.add.s(0, 1), *adding(site)).delay()
        assert len(site.store.chains_needed_by(_first(sent))[0].steps) == LONG
        assert sent.get(timeout=PATIENCE) == LONG + 1
    finally:
        site.close()


def _nodes(last: Any) -> Iterator[Any]:
    """The results of a chain, from the last one on."""
    while last is not None:
        yield last
        last = last.parent


def _first(last: Any) -> str:
    return str(list(_nodes(last))[-1].id)


def _purge(site: Site) -> None:
    site.store.purge_dead_letters([letter.id for letter in site.letters()], ME)


def _prune_all(site: Site) -> None:
    later = site.store.now() + 1_000
    site.store.prune(later, attempts_before=later, dead_letters_before=None)
