"""What queues declare, kept by real workers on every broker as far as it can."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.keeping import BESIDE, SITES, STORES, Keep
from tests.integration.sites import Site, lines, open_gate
from tests.support import wait_for
from tests.support.forking import ROOT

PATIENCE = 60


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path, site_queues=True))


everywhere = pytest.mark.parametrize("site", SITES, indirect=True)
on_stores = pytest.mark.parametrize("site", STORES, indirect=True)
beside = pytest.mark.parametrize("site", BESIDE, indirect=True)


def named(site: Site, *stems: str) -> list[str]:
    """Queues of the site."""
    return [f"{site.app.conf.task_default_queue}.{stem}" for stem in stems]


def most_at_once(journal: str) -> int:
    """How many ran at the same time, at most."""
    running = most = 0
    for line in lines(journal):
        running += 1 if line.startswith("begin") else -1
        most = max(most, running)
    return most


@everywhere
def test_a_queues_concurrency_holds_over_all_workers_and_tasks(site: Site) -> None:
    queues = named(site, "two", "each")
    for pool in ("prefork", "threads"):
        site.worker(pool, concurrency=3, queues=queues)
    journal, gate = site.file(), site.file("gate")
    sent = [site.hold.apply_async((journal, gate, str(number)), queue=queues[0]) for number in range(6)]
    sent += [site.take.apply_async((journal, str(number), 0.02), queue=queues[0]) for number in range(8)]
    wait_for(lambda: len(lines(journal)) == 2, PATIENCE, lambda: f"{lines(journal)} {site.queues()}")
    open_gate(gate)
    site.wait_ended([result.id for result in sent])
    assert most_at_once(journal) == 2
    assert len(lines(journal)) == 2 * len(sent)


@everywhere
def test_a_queues_limit_is_of_each_value_of_its_key(site: Site) -> None:
    [queue] = named(site, "each")
    for _ in range(2):
        site.worker("threads", concurrency=4, queues=[queue])
    journals = {line: site.file() for line in "ab"}
    sent = [site.take.apply_async((journals[line], line, 0.05), queue=queue) for _ in range(6) for line in "ab"]
    site.wait_ended([result.id for result in sent])
    assert [most_at_once(journal) for journal in journals.values()] == [1, 1]


@everywhere
def test_what_is_sent_there_by_name_is_limited_too(site: Site) -> None:
    [queue] = named(site, "two")
    for _ in range(2):
        site.worker("threads", concurrency=4, queues=[queue])
    journal = site.file()
    site.app.tasks.unregister("take")
    for number in range(8):
        site.app.send_task("take", (journal, str(number), 0.05), queue=queue)
    wait_for(lambda: len(lines(journal)) == 16, PATIENCE, lambda: f"{lines(journal)} {site.queues()}")
    assert most_at_once(journal) <= 2


@everywhere
def test_a_queues_time_limit_ends_a_task_that_has_none_of_its_own(site: Site) -> None:
    queues = named(site, "short", "one")
    site.worker("prefork", queues=queues)
    journal = site.file()
    long = site.take.apply_async((journal, "long", 600.0), queue=queues[0])
    site.wait_ended([long.id])
    assert site.letter(long.id).reason == "time-limit"
    assert site.letter(long.id).queue == queues[0]
    # One of another queue may take longer.
    other = site.take.apply_async((journal, "other", 2.0), queue=queues[1])
    site.wait_ended([other.id])
    assert site.state(other.id) == "SUCCESS"


@on_stores
def test_a_worker_shares_itself_out_by_weight(site: Site) -> None:
    heavy, light = named(site, "heavy", "light")
    journal = site.file()
    for queue, stem in ((heavy, "heavy"), (light, "light")):
        site.app.send_tasks([site.effect.s(journal, stem).set(queue=queue) for _ in range(300)])
    site.worker("solo", queues=[light, heavy])
    wait_for(lambda: len(lines(journal)) == 600, PATIENCE, lambda: f"{len(lines(journal))} have run")
    # As long as both have some.
    first = Counter(lines(journal)[:300])
    assert first["heavy"] == pytest.approx(240, abs=15), first
    assert Counter(lines(journal)) == Counter(heavy=300, light=300)


@on_stores
def test_a_strict_queue_goes_before_all_others(site: Site) -> None:
    light, urgent = named(site, "light", "urgent")
    journal = site.file()
    for queue, stem, count in ((light, "light", 60), (urgent, "urgent", 40)):
        site.app.send_tasks([site.effect.s(journal, stem).set(queue=queue) for _ in range(count)])
    site.worker("solo", queues=[light, urgent])
    wait_for(lambda: len(lines(journal)) == 100, PATIENCE, lambda: f"{len(lines(journal))} have run")
    assert lines(journal) == ["urgent"] * 40 + ["light"] * 60


@on_stores
def test_a_worker_holds_no_more_of_a_queue_than_it_says(site: Site) -> None:
    one, heavy = named(site, "one", "heavy")
    site.worker("threads", concurrency=4, queues=[one, heavy])
    of_one, of_heavy = site.file(), site.file()
    sent = [site.take.apply_async((of_one, str(number), 0.03), queue=one) for number in range(10)]
    sent += [site.take.apply_async((of_heavy, str(number), 0.03), queue=heavy) for number in range(20)]
    site.wait_ended([result.id for result in sent])
    assert most_at_once(of_one) == 1
    assert most_at_once(of_heavy) > 1


@beside
def test_a_broker_that_deals_out_by_itself_is_said_to_and_loses_nothing(site: Site) -> None:
    queues = named(site, "heavy", "light", "urgent", "one")
    worker = site.worker("threads", concurrency=2, queues=queues)
    assert "weight, order and prefetch of" in worker.log()
    assert "Give each of them a worker of its own" in worker.log()
    journal = site.file()
    sent = [site.effect.apply_async((journal, queue), queue=queue) for queue in queues for _ in range(5)]
    site.wait_ended([result.id for result in sent])
    assert Counter(lines(journal)) == dict.fromkeys(queues, 5)


# -- what is refused as a program starts

MISROUTED = """
from celeriac import Celery, Queue

app = Celery("shop", broker="sqlite:///shop.db")
app.conf.task_queues = [Queue("default"), Queue("mail")]
app.conf.task_default_queue = "default"
app.conf.task_routes = {"shop.mail": "mial"}


@app.task(name="shop.mail")
def mail() -> None: ...
"""
NEAREST = "task_routes['shop.mail'] leads to the queue 'mial', which is not declared (did you mean 'mail'?)"


@pytest.mark.parametrize(
    ("arguments", "change", "says"),
    [
        (["worker", "-P", "solo"], "", NEAREST),
        (["beat", "-s", "schedule", "--pidfile="], "", NEAREST),
        (["worker", "-P", "solo", "-Q", "default,mial"], "app.conf.task_routes = {}", "-Q leads to the queue 'mial'"),
    ],
)
def test_a_program_does_not_start_with_a_route_to_nowhere(
    tmp_path: Path, arguments: list[str], change: str, says: str
) -> None:
    (tmp_path / "misrouted.py").write_text(f"{MISROUTED}\n{change}\n")
    done = started(tmp_path, arguments)
    assert done.returncode == 1
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def started(folder: Path, arguments: list[str]) -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "misrouted", *arguments]
    env = {"PYTHONPATH": f"{ROOT}/src:{folder}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
