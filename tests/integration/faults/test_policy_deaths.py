"""What a policy of retries has promised outlives the worker: who is to be told, and since when time is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sites import Site, counts, lines, wait_line
from tests.integration.test_policies import PATIENCE, WHERE, close, make_site, start
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool


@pytest.fixture
def site(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = make_site(kind, tmp_path)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    close(site)


@pytest.mark.parametrize("point", ["settling", "in-transaction", "settled"])
@pytest.mark.parametrize(("kind", "pool"), WHERE)
def test_who_is_told_of_exhausted_retries_is_told_once(site: Site, pool: Pool, point: str) -> None:
    """The worker dies over the very settlement that ends the task."""
    journal = site.file()
    dying = start(site, pool, break_at=point)
    result = site.is_exhausted_at_once.delay(journal)
    wait_for(lambda: not dying.running, PATIENCE, lambda: f"it lives: {lines(journal)}")
    start(site, pool)
    wait_line(journal, "told 0 True", PATIENCE)
    site.wait_ended([result.id])
    assert site.add.delay(1, 1).get(timeout=PATIENCE) == 2
    # The body runs once more where its end was not written, which a script on its way to Redis may have been; that it
    # ended is told once in any case.
    ran = counts(journal)
    assert ran["run"] in {"settling": {2}, "in-transaction": {1, 2}, "settled": {1}}[point]
    assert ran["told 0 True"] == 1
    assert site.letter(result.id).reason == "exhausted"


@pytest.mark.parametrize(("kind", "pool"), WHERE)
def test_the_budget_goes_on_while_no_worker_is_up(site: Site, pool: Pool) -> None:
    journal = site.file()
    with site.working(pool) as first:
        result = site.runs_out_of_time.delay(journal)
        wait_for(lambda: len(site.attempts(result.id)) >= 1, PATIENCE)
        first.kill()
    began = float(lines(journal)[0].split()[1])
    before = len(lines(journal))
    wait_for(lambda: time.time() > began + 2.0, PATIENCE)
    start(site, pool)
    site.wait_ended([result.id])
    # What was decided on in time is done, and nothing after it.
    assert before <= len(lines(journal)) <= before + 1
    assert site.letter(result.id).reason == "budget"


@pytest.mark.parametrize("kind", [kind for kind, _ in WHERE])
def test_a_run_that_crashed_was_the_first(site: Site) -> None:
    journal = site.file()
    start(site, "prefork")
    site.tells_since_when.delay(journal, site.file("died")).get(timeout=PATIENCE)
    told = [tuple(map(float, line.split())) for line in lines(journal)]
    assert [int(retries) for retries, _, _ in told] == [0, 0, 1, 2]
    _, (_, again, _), (_, _, since), (_, _, still) = told
    # It took two seconds, of which the mark of its start may have missed some.
    assert again - since >= 1.0
    assert still == since
