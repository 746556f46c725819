"""Circuits over all workers: real workers on every broker, killed too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeriac import CircuitOpen
from celeriac.execution.circuits import CircuitStatus
from tests.integration.keeping import SITES, Keep
from tests.integration.sites import BesideSite, Site, lines, open_gate
from tests.integration.tasks import GATEWAY
from tests.support import wait_for
from tests.support.plugin import PROGRAMS
from tests.support.worker import Pool

PATIENCE = 60
#: The calls that must have failed before it opens, and those that may until all know of it: each of three processes opens it
#: for itself at the latest, and each of four slots may be in a call.
ENOUGH = GATEWAY.minimum
MEANWHILE = 3 * ENOUGH + 4


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(SITES[request.param](tmp_path))


@pytest.fixture
def sqlite(tmp_path: Path, keep: Keep) -> Site:
    return keep(Site(tmp_path))


def status(site: Site, name: str = "gateway") -> CircuitStatus:
    [found] = [one for one in site.app.circuits.list() if one.name == name]
    return found


def wait_state(site: Site, state: str, name: str = "gateway") -> None:
    wait_for(lambda: status(site, name).state == state, PATIENCE, lambda: f"{status(site, name)}")


def calls(journal: str) -> list[float]:
    return [float(line.split()[2]) for line in lines(journal) if line.startswith("call ")]


@pytest.mark.parametrize("kind", ["pay", "pay_in_a_block", "pay_later"])
def test_tasks_wait_out_what_they_depend_on(site: Site, kind: str) -> None:
    """Two workers share what they know: together they call as often as it takes, and then one by one."""
    for pool in ("prefork", "threads"):
        site.worker(pool, concurrency=2)
    journal, up = site.file(), site.file("up")
    sent = [getattr(site, kind).delay(journal, up, str(number)) for number in range(30)]
    wait_state(site, "open")
    first = len(calls(journal))
    assert ENOUGH <= first <= ENOUGH + MEANWHILE, lines(journal)
    # A probe is made, fails, and opens it again.
    opened = status(site).since
    wait_for(lambda: (one := status(site)).state == "open" and one.since != opened, PATIENCE, lambda: f"{status(site)}")
    assert len(calls(journal)) <= first + MEANWHILE
    open_gate(up)
    ended = site.wait_ended([result.id for result in sent])
    assert {record.state for record in ended.values()} == {"SUCCESS"}
    assert status(site).state == "closed"
    # Each call that was made is an attempt, and nothing else is: who waited did not use any up.
    failed = len(calls(journal)) - len(sent)
    assert sum(len(site.attempts(result.id)) for result in sent) == failed


def test_a_worker_that_dies_as_it_probes_blocks_nobody(sqlite: Site) -> None:
    sqlite.worker("prefork", concurrency=1)
    journal, up = sqlite.file(), sqlite.file("up")
    sqlite.on_the_line.delay(journal, up, "first")
    wait_state(sqlite, "open", "line")
    open_gate(f"{up}.deadly")
    open_gate(up)
    sent = [sqlite.on_the_line.delay(journal, up, str(number)) for number in range(3)]
    ended = sqlite.wait_ended([result.id for result in sent])
    assert {record.state for record in ended.values()} == {"SUCCESS"}
    assert sum(line.startswith("dies") for line in lines(journal)) == 1
    assert status(sqlite, "line").state == "closed"


def test_opened_by_hand_it_lets_nobody_through_until_it_is_closed(site: Site) -> None:
    site.worker("threads", concurrency=2)
    journal, up = site.file(), site.file("up")
    open_gate(up)
    site.app.circuits.open("gateway", by="ada", note="the gateway moves")
    found = status(site)
    assert (found.state, found.until, found.by, found.note) == ("open", None, "ada", "the gateway moves")
    sent = site.pay.delay(journal, up, "a")
    wait_for(lambda: (record := site.record(sent.id)) is not None and record.snoozes, PATIENCE, "it is not put off")
    assert lines(journal) == []
    with (
        pytest.raises(CircuitOpen, match="circuit 'gateway' is open, so nothing was called"),
        site.app.circuit(GATEWAY),
    ):
        raise AssertionError("it was let through")
    site.app.circuits.close("gateway", by="ada")
    assert sent.get(timeout=PATIENCE) == "a"
    assert site.attempts(sent.id) == []


def test_a_program_that_is_no_worker_calls_within_it_too(sqlite: Site) -> None:
    app: Any = sqlite.app
    for _ in range(ENOUGH):
        with pytest.raises(ConnectionError), app.circuit("gateway"):
            raise ConnectionError("down")
    assert status(sqlite).state == "open"
    with pytest.raises(CircuitOpen) as caught, app.circuit("gateway"):
        raise AssertionError("it was let through")
    assert caught.value.circuit == "gateway"
    assert 0 < caught.value.retry_after < GATEWAY.open_for + 2
    # What a worker then does not begin.
    journal, up = sqlite.file(), sqlite.file("up")
    open_gate(up)
    sent = sqlite.pay.delay(journal, up, "a")
    sqlite.worker("solo")
    assert sent.get(timeout=PATIENCE) == "a"
    assert app.circuits.reset("gateway")


def test_errors_that_are_no_failures_of_it_open_nothing(sqlite: Site) -> None:
    for _ in range(3 * ENOUGH):
        with pytest.raises(ValueError, match="declined"), sqlite.app.circuit("gateway"):
            raise ValueError("declined")
    with pytest.raises(ConnectionError), sqlite.app.circuit("gateway"):
        raise ConnectionError("down")
    wait_for(lambda: status(sqlite).failed, PATIENCE, "what is amiss is not told")
    assert (status(sqlite).state, status(sqlite).failed) == ("closed", 1)


def test_the_same_circuit_within_itself_counts_once(sqlite: Site) -> None:
    for _ in range(ENOUGH - 1):
        with pytest.raises(ConnectionError), sqlite.app.circuit("gateway"), sqlite.app.circuit("gateway"):
            raise ConnectionError("down")
    assert status(sqlite).state == "closed"
    with pytest.raises(ConnectionError), sqlite.app.circuit("gateway"), sqlite.app.circuit("gateway"):
        raise ConnectionError("down")
    assert status(sqlite).state == "open"


def test_without_a_ledger_each_process_has_its_own(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = BesideSite.of(tmp_path, "redis", "sqlite", celeriac_ledger=None, result_backend=f"file://{tmp_path}")
    request.node.stash[PROGRAMS] = site.workers
    try:
        worker = site.worker("threads", concurrency=2)
        journal, up = site.file(), site.file("up")
        sent = [site.pay.delay(journal, up, str(number)) for number in range(8)]
        wait_for(lambda: "circuit 'gateway' is open" in worker.log_of_this_run(), PATIENCE, "it does not open")
        first = len(calls(journal))
        assert ENOUGH <= first <= ENOUGH + 2
        open_gate(up)
        assert sorted(result.get(timeout=PATIENCE) for result in sent) == [str(number) for number in range(8)]
        assert len(calls(journal)) <= first + 2 + len(sent)
    finally:
        BesideSite.drop_queue(site)
        for one in site.workers:
            one.close()
        site.app.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
@pytest.mark.parametrize("kind", ["pay", "pay_later"])
def test_in_every_pool(sqlite: Site, pool: Pool, kind: str) -> None:
    sqlite.worker(pool, concurrency=2)
    journal, up = sqlite.file(), sqlite.file("up")
    sent = [getattr(sqlite, kind).delay(journal, up, str(number)) for number in range(6)]
    wait_state(sqlite, "open")
    open_gate(up)
    ended = sqlite.wait_ended([result.id for result in sent])
    assert {record.state for record in ended.values()} == {"SUCCESS"}
