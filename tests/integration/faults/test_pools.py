"""A process is gone, or the connection is, while the other is in the middle of something."""

from __future__ import annotations

import pytest
from celery import states

from tests.integration.breaking_pools import (
    BROKEN_OFF,
    BROKEN_OFF_UNSEEN,
    CUT,
    CUT_ANSWER,
    CUT_AT_ENDS,
    CUTS,
    DYING_TOGETHER,
)
from tests.integration.sites import Site, counts, lines, open_gate, wait_line
from tests.support import Worker, wait_for

MANY = 50


@pytest.fixture
def site(lasting_site: Site) -> Site:
    return lasting_site


class Answers:
    """A task whose process tells its parent of its end at length, among short ones."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.neighbours, self.journal = site.file("neighbours"), site.file()
        self.short = self._send_short("before")
        self.long = [site.app.tasks[name].delay(self.journal, "first").id]
        self.short += self._send_short("after")

    def _send_short(self, when: str) -> list[str]:
        return [self.site.effect.delay(self.neighbours, f"{when} {number}").id for number in range(MANY)]

    def check(self, worker: Worker) -> None:
        """Each has ended, the neighbours in one run; the worker hears every process, also at length."""
        self.short += self._send_short("since")
        self.long.append(self.site.app.tasks[self.name].delay(self.journal, "second").id)
        records = self.site.wait_ended([*self.short, *self.long])
        assert {records[task_id].state for task_id in self.short} == {states.SUCCESS}
        end = states.SUCCESS if self.name == "return_at_length" else states.FAILURE
        assert {records[task_id].state for task_id in self.long} == {end}
        assert set(counts(self.neighbours).values()) == {1}
        assert [attempt for task_id in self.short for attempt in self.site.attempts(task_id)] == []
        crashes = [attempt.outcome for attempt in self.site.attempts(self.long[0])].count("crashed")
        assert counts(self.journal) == {"first": 1 + crashes, "second": 1}
        self._check_that_all_are_free(worker)

    def _check_that_all_are_free(self, worker: Worker) -> None:
        journal, gate = self.site.file(), self.site.file("gate")
        held = [self.site.hold.delay(journal, gate, f"{number}").id for number in range(2)]
        for number in range(2):
            wait_line(journal, f"begin {number}")
        open_gate(gate)
        self.site.wait_ended(held)
        assert worker.running
        assert worker.terminate(timeout=20) == 0


LENGTHS = ["return_at_length", "fail_at_length"]


@pytest.mark.parametrize("name", LENGTHS)
def test_a_process_dies_in_the_middle_of_its_answer(site: Site, name: str) -> None:
    """What it did was settled before it answered."""
    work = Answers(site, name)
    worker = site.worker("prefork", concurrency=2, break_at=BROKEN_OFF)
    wait_for(lambda: "exited with 'signal 9" in worker.log(), 30, worker.tail)
    work.check(worker)


def test_what_is_left_of_a_broken_off_answer_is_no_message(site: Site) -> None:
    """It is in the pipe of a process that is found dead with another, when its parent has read the first half."""
    work = Answers(site, "fail_at_length")
    worker = site.worker("prefork", concurrency=2, break_at=BROKEN_OFF_UNSEEN)
    wait_for(lambda: list(site.folder.glob("broken-*-stopped")), 30, worker.tail)
    wait_for(lambda: not worker.children(), 30)
    worker.cont()
    work.check(worker)


@pytest.mark.parametrize("name", LENGTHS)
def test_the_connection_breaks_in_the_middle_of_an_answer(site: Site, name: str) -> None:
    """The rest is read when there is a connection again."""
    work = Answers(site, name)
    worker = site.worker("prefork", concurrency=2, break_at=CUT_ANSWER)

    def cut() -> bool:
        work.short.append(site.effect.delay(work.neighbours, f"meanwhile {len(work.short)}").id)
        return bool(list(site.folder.glob("broken-*-again")))

    wait_for(cut, 30, worker.tail, interval=0.1)
    work.check(worker)


def _check_done_once(site: Site, sent: dict[str, str], journal: str, worker: Worker) -> None:
    records = site.wait_ended(list(sent.values()))
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert counts(journal) == dict.fromkeys(sent, 1)
    assert [attempt for task_id in sent.values() for attempt in site.attempts(task_id)] == []
    assert worker.running


def _cuts(site: Site) -> int:
    return sum(len(lines(str(path))) for path in site.folder.glob("broken-*"))


@pytest.mark.parametrize("last", [1, 3])
def test_the_connection_breaks_again_and_again_while_processes_are_replaced(site: Site, last: int) -> None:
    """What a process was given and never began, because it had done enough, is given to another."""
    journal, sent = site.file(), dict[str, str]()
    worker = site.worker("prefork", concurrency=3, arguments=[f"--max-tasks-per-child={last}"], break_at=CUT)

    def cut_often() -> bool:
        line = f"{len(sent)}"
        sent[line] = site.effect.delay(journal, line).id
        return _cuts(site) == CUTS

    wait_for(cut_often, 60, worker.tail, interval=0.03)
    _check_done_once(site, sent, journal, worker)
    assert worker.log().count("Connection to broker lost") > CUTS // 2


@pytest.mark.parametrize("width", [1, 2])
def test_the_connection_breaks_whenever_a_process_ends(site: Site, width: int) -> None:
    """Also while what it never began, though it had counted as begun, waits for another."""
    journal = site.file()
    sent = {f"{number}": site.effect.delay(journal, f"{number}").id for number in range(30)}
    worker = site.worker("prefork", concurrency=width, arguments=["--max-tasks-per-child=1"], break_at=CUT_AT_ENDS)
    wait_for(lambda: _cuts(site) == CUTS, 60, worker.tail)
    _check_done_once(site, sent, journal, worker)


def test_processes_that_die_together_each_have_their_task_to_blame(site: Site) -> None:
    """Also when nobody has heard yet that it had begun."""
    journal, gate = site.file(), site.file("gate")
    worker = site.worker("prefork", concurrency=6, break_at=DYING_TOGETHER)
    ids = [site.hold.delay(journal, gate, f"{number}").id for number in range(6)]
    wait_for(lambda: len(lines(journal)) == 6, 30, worker.tail)
    worker.kill_child()
    wait_for(lambda: len(lines(journal)) == 12, 30, worker.tail)
    open_gate(gate)
    records = site.wait_ended(ids)
    assert {record.state for record in records.values()} == {states.SUCCESS}
    assert {counts(journal)[f"begin {number}"] for number in range(6)} == {2}
    assert [[attempt.outcome for attempt in site.attempts(task_id)] for task_id in ids] == [["crashed"]] * 6
    assert worker.running
