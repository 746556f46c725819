"""Limits over all workers: real workers on every broker, killed too."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import chord

from tests.integration.keeping import SITES, Keep
from tests.integration.sites import Site, lines, open_gate, wait_line
from tests.support import wait_for

PATIENCE = 60


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path))


def most_at_once(journal: str) -> dict[str, int]:
    """How many of each customer's tasks ran at the same time, at most."""
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    for line in lines(journal):
        word, customer = line.split()
        running[customer] = running.get(customer, 0) + (1 if word == "begin" else -1)
        most[customer] = max(most.get(customer, 0), running[customer])
    return most


def test_a_limit_holds_over_all_workers(site: Site) -> None:
    for pool in ("prefork", "threads"):
        site.worker(pool, concurrency=3)
    journal = site.file()
    sent = [site.two_at_once.delay(customer, journal, 0.05) for _ in range(8) for customer in "abc"]
    site.wait_ended([result.id for result in sent])
    most = most_at_once(journal)
    assert most.keys() == set("abc")
    assert max(most.values()) == 2
    assert len(lines(journal)) == 2 * len(sent)


def test_a_killed_workers_slot_is_free_again(site: Site) -> None:
    worker = site.worker("solo")
    journal, gate = site.file(), site.file("gate")
    first = site.alone.delay(journal, gate)
    wait_line(journal, f"begin {worker.pid}")
    others = [site.alone.delay(journal) for _ in range(3)]
    worker.kill()
    site.worker("solo")
    open_gate(gate)
    site.wait_ended([first.id, *(result.id for result in others)])
    # The killed run began and did not end; every other one, and its repeat, did both, one after the other.
    assert [line.split()[0] for line in lines(journal)[1:]] == ["begin", "end"] * 4


def test_what_is_sent_by_name_is_limited_too(site: Site) -> None:
    journal = site.file()
    for _ in range(2):
        site.worker("threads", concurrency=4)
    site.app.tasks.unregister("two_at_once")
    for _ in range(6):
        site.app.send_task("two_at_once", ("a", journal, 0.05))
    wait_for(lambda: len(lines(journal)) == 12, PATIENCE, lambda: f"{lines(journal)} {site.queues()}")
    assert most_at_once(journal)["a"] <= 2


def test_a_rate_holds_over_all_workers(site: Site) -> None:
    for _ in range(2):
        site.worker("threads", concurrency=2)
    journal = site.file()
    sent = [site.five_a_second.delay(journal) for _ in range(11)]
    site.wait_ended([result.id for result in sent])
    times = sorted(float(line) for line in lines(journal))
    assert len(times) == 11
    # Ten fifths of a second, less what the first was late to begin; without a limit they take a tenth of that.
    assert times[-1] - times[0] > 10 * 0.2 / 2


def test_one_customers_backlog_keeps_nobody_waiting(site: Site) -> None:
    journal = site.file()
    many = [site.two_at_once.delay("many", journal, 0.01) for _ in range(150)]
    site.worker("threads", concurrency=2)
    wait_for(lambda: len(lines(journal)) > 10, PATIENCE, "nothing runs")
    few = [site.two_at_once.delay("few", journal) for _ in range(3)]
    site.wait_ended([result.id for result in [*many, *few]])
    begun = [line.split()[1] for line in lines(journal) if line.startswith("begin")]
    first, last = begun.index("few"), len(begun) - begun[::-1].index("few")
    assert last - first <= 12, begun


def test_limited_members_of_a_chord_join(site: Site) -> None:
    site.worker("threads", concurrency=4)
    journal = site.file()
    result = chord([site.two_at_once.si("a", journal, 0.01) for _ in range(6)])(site.how_many.s())
    assert result.get(timeout=PATIENCE) == 6
    assert most_at_once(journal)["a"] <= 2
