"""The desk under real workers: on each store, and with a ledger beside each broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, states
from celery.result import AsyncResult

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import Verb
from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site, lines
from tests.support import wait_for
from tests.support.plugin import PROGRAMS, server
from tests.support.worker import Pool

PATIENCE = 60
PLACES: list[tuple[str, Pool]] = [
    ("sqlite", "prefork"),
    ("postgres", "threads"),
    ("redis", "prefork"),
    ("sqlite beside redis", "solo"),
    ("postgres beside amqp", "prefork"),
]


def make(folder: Path, place: str) -> Site:
    ledger, _, broker = place.partition(" beside ")
    if broker:
        return BesideSite.of(folder, broker, ledger)
    if ledger == "postgres":
        return PostgresSite(folder, server("CELERIAC_POSTGRES_URL"))
    return Site(folder) if ledger == "sqlite" else RedisSite(folder, server("CELERIAC_REDIS_URL"))


@pytest.fixture(scope="module", params=PLACES, ids=lambda each: each[0].replace(" ", "-"))
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place, pool = request.param
    site = make(tmp_path_factory.mktemp("desk"), place)
    site.worker(pool, concurrency=1 if pool == "solo" else 2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    request.node.stash[PROGRAMS] = shared_site.workers
    yield shared_site
    everything = DeadLetterFilter()
    shared_site.app.dead_letters.purge(task="*", acknowledged=None)
    shared_site.app.failures.acknowledge(*(one.task_id for one in shared_site.store.unread_failures(everything)))


def failed(site: Site, result: AsyncResult) -> str:
    """The id of a task once the ledger says that it failed; looked up past the result, which would be read."""
    wait_for(lambda: site.state(result.id) == states.FAILURE, PATIENCE, lambda: f"is {site.state(result.id)}")
    return str(result.id)


def result_of(site: Site, task_id: str) -> object:
    wait_for(lambda: site.state(task_id) == states.SUCCESS, PATIENCE, lambda: f"is {site.state(task_id)}")
    return site.app.AsyncResult(task_id).get(timeout=PATIENCE)


# -- arguments mended, work gone on with


def test_a_task_with_a_wrong_argument_is_mended(site: Site) -> None:
    task_id = failed(site, site.add.delay("seven", 1))
    [letter] = site.app.dead_letters.find(argument="x=seven")
    assert letter.task_id == task_id
    done = site.app.dead_letters.redrive(letter.id, values={"x": 7}, who="anna@laptop", note="a typo")
    assert (done.done, done.refused) == (1, [])
    assert result_of(site, task_id) == 8
    assert list(site.app.dead_letters) == []
    [line] = site.app.dead_letters.log(task_id)
    assert (line.verb, line.who, line.letter_id, line.note) == (
        Verb.REDRIVEN,
        "anna@laptop",
        letter.id,
        "x 'seven' → 7; a typo",
    )


def test_a_chain_goes_on_from_the_step_that_failed(site: Site) -> None:
    last = chain(site.add.s("seven", 1), site.add.s(10)).delay()
    task_id = failed(site, last.parent)
    assert site.app.dead_letters.redrive(task_id, values={"x": 7}).done == 1
    assert result_of(site, last.id) == 18


@pytest.mark.parametrize("member", ["task", "chain"])
def test_the_body_of_a_chord_runs_when_its_last_missing_member_has_been_redriven(site: Site, member: str) -> None:
    """Its failure was told before: the body's own end is written anew, one generation higher."""
    wrong = site.add.si("seven", 1) if member == "task" else chain(site.add.si("seven", 1), site.add.s(10))
    body = chord([site.add.si(1, 1), wrong, site.add.si("two", 2)])(site.collect.s())
    failed(site, body)
    wait_for(lambda: len(site.letters()) == 2, PATIENCE)
    for letter, mended in zip(sorted(site.letters(), key=lambda one: "two" in one.body), (7, 2), strict=True):
        assert site.state(body.id) == states.FAILURE
        assert site.app.dead_letters.redrive(letter.id, values={"x": mended}).done == 1
        result_of(site, letter.task_id)
    assert result_of(site, body.id) == [2, 8 if member == "task" else 18, 4]


def test_a_member_whose_chord_is_not_known_is_refused_unless_it_goes_alone(site: Site) -> None:
    """Such as one that was imported from another ledger."""
    member = site.add.si("seven", 1).set(group_id="gone", group_index=0, chord=site.collect.s())
    task_id = failed(site, member.apply_async())
    assert json.loads(site.letter(task_id).envelope)[0]["group"] == "gone"
    done = site.app.dead_letters.redrive(task_id, values={"x": 7})
    assert done.done == 0
    assert "chord gone is not known" in str(done.refused[0].error)
    assert site.app.dead_letters.redrive(task_id, alone=True, values={"x": 7}).done == 1
    assert result_of(site, task_id) == 8


def test_what_a_queue_cannot_do_another_may(site: Site) -> None:
    task_id = failed(site, site.add.delay("seven", 1))
    other = f"other-{task_id}"
    assert site.app.dead_letters.redrive(task_id, values={"x": 7}, to=other).done == 1
    wait_for(lambda: site.state(task_id) == states.PENDING, PATIENCE)
    with site.working("solo", arguments=("-Q", other)):
        assert result_of(site, task_id) == 8


# -- failures that nobody reads


def unread(site: Site) -> list[str]:
    return [failure.task_id for failure in site.app.failures]


def test_a_failure_is_listed_until_its_result_is_read(site: Site) -> None:
    result = site.fail.delay("nobody looks")
    task_id = failed(site, result)
    [failure] = site.app.failures
    assert (failure.task_id, failure.name, failure.error_type, failure.error) == (
        task_id,
        site.fail.name,
        "builtins.ValueError",
        "nobody looks",
    )
    with pytest.raises(ValueError, match="nobody looks"):
        result.get(timeout=PATIENCE)
    assert unread(site) == []


def test_the_state_tells_it_too(site: Site) -> None:
    result = site.fail.delay("nobody looks")
    failed(site, result)
    assert unread(site) == [result.id]
    assert result.state == states.FAILURE
    assert unread(site) == []


def test_what_somebody_hears_of_is_not_listed(site: Site) -> None:
    journal = site.file()
    told = site.fail.apply_async(("told",), link_error=site.on_error_by_id.s(journal=journal))
    failed(site, told)
    wait_for(lambda: lines(journal), PATIENCE)
    body = chord([site.fail.si("a member"), site.add.si(1, 1)])(site.collect.s())
    failed(site, body)
    assert unread(site) == [body.id], "a chord's failure is its body's"


def test_an_ignored_result_is_never_read(site: Site) -> None:
    task_id = failed(site, site.fail.apply_async(("nobody looks",), ignore_result=True))
    assert unread(site) == [task_id]
    assert site.app.failures.acknowledge(task_id, "unknown", note="known") == 1
    assert unread(site) == []
    assert site.app.dead_letters.log(task_id)[0].verb is Verb.READ


def test_an_acknowledged_dead_letter_is_a_failure_that_somebody_knows(site: Site) -> None:
    task_id = failed(site, site.fail.delay("known"))
    assert site.app.dead_letters.acknowledge(task_id, note="known").done == 1
    assert (unread(site), list(site.app.dead_letters)) == ([], [])
    [letter] = site.app.dead_letters.find(acknowledged=True)
    assert (letter.task_id, letter.note) == (task_id, "known")


# -- in Python


def test_all_of_them_are_never_meant_by_accident(site: Site) -> None:
    failed(site, site.fail.delay("kept"))
    for deed in (site.app.dead_letters.redrive, site.app.dead_letters.purge, site.app.dead_letters.acknowledge):
        with pytest.raises(ValueError, match=r"task='\*' means all"):
            deed()
    assert site.app.dead_letters.count() == 1


def test_export_and_import(site: Site) -> None:
    for number in range(2):
        failed(site, site.fail.delay(f"number {number}"))
    file = Path(site.file("export"))
    letters = list(site.app.dead_letters)
    assert [group.count for group in site.app.dead_letters.groups()] == [2]
    assert site.app.dead_letters.export(file) == 2
    assert site.app.dead_letters.purge(task="*").done == 2
    assert site.app.dead_letters.import_(file).done == 2
    assert site.app.dead_letters.import_(file).gone == 2
    assert [letter.task_id for letter in site.app.dead_letters] == [letter.task_id for letter in letters]
    assert site.app.dead_letters.redrive(task="*", rate="100/s").done == 2
