"""What only a pool of processes can do: time limits, and memory that is shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, states
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from tests.integration.sites import Site, lines, wait_line
from tests.support.plugin import PROGRAMS


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("prefork"))
    site.worker("prefork", concurrency=2)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, request: pytest.FixtureRequest) -> Site:
    request.node.stash[PROGRAMS] = shared_site.workers
    return shared_site


def test_a_soft_time_limit_is_raised_in_the_body(site: Site) -> None:
    assert site.soft_limited.delay().get(timeout=30) == "stopped softly"


def test_a_soft_time_limit_cancels_a_coroutine(site: Site) -> None:
    journal = site.file()
    result = site.soft_limited_later.delay(journal)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=30)
    wait_line(journal, "cancelled")
    assert site.letter(result.id).error_type.endswith("SoftTimeLimitExceeded")


def test_a_hard_time_limit_is_a_dead_letter_after_one_run(site: Site) -> None:
    journal = site.file()
    result = site.hard_limited.delay(journal)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=30)
    record = site.wait_ended([result.id])[result.id]
    assert record.state == states.FAILURE
    assert lines(journal) == ["run"]
    assert site.letter(result.id).reason == "time-limit"
    assert site.add.delay(1, 1).get(timeout=30) == 2


def test_a_hard_time_limit_tells_the_errback_and_stops_the_chain(site: Site) -> None:
    journal, told = site.file(), site.file("told")
    first = site.hard_limited.s(journal).on_error(site.on_error_by_id.s(journal=told))
    result = chain(first, site.effect.si(journal, "after")).delay()
    wait_line(told, f"error {result.parent.id}")
    site.wait_ended([result.parent.id])
    assert lines(journal) == ["run"]
    assert len(lines(told)) == 1


def test_a_limit_of_one_call_is_enforced(site: Site) -> None:
    """Though the app's own soft limit is far longer."""
    journal = site.file()
    result = site.hold.apply_async((journal, site.file("gate"), "a"), time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=30)
    assert site.letter(result.id).reason == "time-limit"


def test_a_limit_of_the_app_or_the_command_line_is_enforced(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = Site(tmp_path, task_time_limit=1)
    request.node.stash[PROGRAMS] = site.workers
    with site.working("prefork"):
        journal, gate = site.file(), site.file("gate")
        with pytest.raises(TimeLimitExceeded):
            site.hold.delay(journal, gate, "a").get(timeout=30)
    site.close()
    other = Site(tmp_path, task_time_limit=3600)
    with other.working("prefork", arguments=["--soft-time-limit", "0.5"]):
        with pytest.raises(SoftTimeLimitExceeded):
            other.hold.delay(journal, gate, "a").get(timeout=30)
        assert other.soft_limited.delay().get(timeout=30) == "stopped softly"
    other.close()


def test_what_is_loaded_before_the_fork_stays_shared(site: Site) -> None:
    """A collection in a child would write to, and so copy, every page with objects."""
    assert site.frozen.delay().get(timeout=30) > 10_000
