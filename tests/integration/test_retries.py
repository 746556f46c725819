"""What is tried again without being asked, and which endings are a dead letter."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from celery import chain, chord, states

from tests.integration.sites import Site, lines, wait_line
from tests.support import free_port
from tests.support.plugin import PROGRAMS

PATIENCE = 30


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "gevent"])
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # The usual waits, a thousandth as long.
    quick = {"celeriac_retry_backoff": 0.01, "celeriac_retry_backoff_max": 0.1}
    site = Site(tmp_path_factory.mktemp("retries"), **quick)
    site.worker(request.param, concurrency=1 if request.param == "solo" else 2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    request.node.stash[PROGRAMS] = shared_site.workers
    return shared_site


def test_a_refused_connection_is_tried_four_times_and_kept(site: Site) -> None:
    journal, port = site.file(), free_port()
    result = site.call_out.delay(port, journal)
    with pytest.raises(ConnectionRefusedError):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run 0", "run 1", "run 2", "run 3"]
    letter = site.letter(result.id)
    assert (letter.reason, letter.name, letter.queue) == ("exhausted", "call_out", "celery")
    assert [attempt.outcome for attempt in letter.attempts] == ["retry", "retry", "retry", "dead-lettered"]
    assert [attempt.generation for attempt in letter.attempts] == [0, 1, 2, 3]
    assert {attempt.worker for attempt in letter.attempts} == {site.workers[0].nodename}
    assert all("ConnectionRefusedError" in (attempt.error_type or "") for attempt in letter.attempts)
    assert all("_connect(port)" in (attempt.traceback or "") for attempt in letter.attempts)
    assert all((attempt.started_at or 0) <= attempt.finished_at for attempt in letter.attempts)


def test_a_connection_that_comes_up_in_time_is_no_failure(site: Site) -> None:
    journal = site.file()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        # Bound and not listening: refused, until it listens.
        result = site.call_out_patiently.delay(server.getsockname()[1], journal)
        wait_line(journal, "run 1")
        server.listen()
        assert result.get(timeout=PATIENCE) == "connected"
    assert site.ended([result.id])[result.id].state == states.SUCCESS
    assert [letter for letter in site.letters() if letter.task_id == result.id] == []


def test_retries_false_tries_once(site: Site) -> None:
    journal, port = site.file(), free_port()
    result = site.call_out_once.delay(port, journal)
    with pytest.raises(ConnectionRefusedError):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run"]
    assert site.letter(result.id).reason == "permanent"


def test_a_number_of_retries_is_for_every_exception(site: Site) -> None:
    journal = site.file()
    result = site.counted.delay(journal)
    with pytest.raises(ValueError, match="worth one"):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run 0", "run 1"]
    assert site.letter(result.id).reason == "exhausted"


def test_an_error_of_the_code_is_permanent(site: Site) -> None:
    result = site.fail.delay("a bug")
    with pytest.raises(ValueError, match="a bug"):
        result.get(timeout=PATIENCE)
    letter = site.letter(result.id)
    assert (letter.reason, letter.error_type, letter.error) == ("permanent", "builtins.ValueError", "a bug")
    assert "raise ValueError(text)" in (letter.traceback or "")
    assert "a bug" in str(letter.body)


def test_a_coroutines_refused_connection_is_tried_again(site: Site) -> None:
    journal, port = site.file(), free_port()
    result = site.call_out_later.delay(port, journal)
    with pytest.raises(ConnectionRefusedError):
        result.get(timeout=PATIENCE)
    assert lines(journal) == ["run 0", "run 1", "run 2", "run 3"]


def test_an_error_whose_text_is_no_utf8_is_kept(site: Site) -> None:
    """A file name read from a disk can hold half a character."""
    result = site.fail_with_half_a_character.delay()
    with pytest.raises(ValueError, match="no such file"):
        result.get(timeout=PATIENCE)
    assert site.letter(result.id).error == r"no such file: caf\udce9"


# -- the task's own word


def test_expected_errors_make_no_dead_letter(site: Site) -> None:
    result = site.expected.delay("declined")
    with pytest.raises(KeyError):
        result.get(timeout=PATIENCE)
    assert site.wait_ended([result.id])[result.id].state == states.FAILURE
    assert [letter for letter in site.letters() if letter.task_id == result.id] == []


def test_ignored_ends_and_makes_no_dead_letter(site: Site) -> None:
    journal = site.file()
    result = site.ignored.delay(journal)
    assert site.wait_ended([result.id])[result.id].state == states.IGNORED
    assert lines(journal) == ["ignored"]
    assert [letter for letter in site.letters() if letter.task_id == result.id] == []


def test_rejected_ends_and_makes_no_dead_letter(site: Site) -> None:
    result = site.rejected.delay()
    site.wait_ended([result.id])
    assert [letter for letter in site.letters() if letter.task_id == result.id] == []
    assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2


def test_rejected_to_come_back_is_the_same_generation(site: Site) -> None:
    journal = site.file()
    result = site.rejected_once.delay(journal)
    assert result.get(timeout=PATIENCE) == "done"
    assert lines(journal) == ["run", "run"]
    assert site.wait_ended([result.id])[result.id].generation == 0
    assert site.attempts(result.id) == []


def test_a_rejected_member_does_not_hang_its_chord(site: Site) -> None:
    result = chord([site.rejected.s(), site.add.s(1, 1)], site.collect.s()).delay()
    with pytest.raises(Exception, match="not mine"):
        result.get(timeout=PATIENCE)


def test_a_dead_step_stops_its_chain_and_says_so(site: Site) -> None:
    journal, told = site.file(), site.file()
    step = site.fail.si("step").on_error(site.on_error_by_id.s(journal=told))
    result = chain(step, site.effect.si(journal, "after")).delay()
    wait_line(told, f"error {result.parent.id}")
    assert site.letter(result.parent.id).reason == "permanent"
    assert lines(journal) == []
