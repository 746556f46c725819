"""`celery -A app workflow`: what it shows, in a terminal and in a pipe, and what it says when asked in vain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from celery import chain, chord, group
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery
from celeriac.cli import workflow as command
from celeriac.cli.dead import dead
from celeriac.cli.drawing import drawn
from celeriac.cli.text import cells
from celeriac.cli.workflow import _listing
from celeriac.core.attempt import Record
from celeriac.core.checkpoint import Progress as Reported
from celeriac.core.workflow import Node, Workflow
from celeriac.core.workflow_state import progress, state_of
from celeriac.errors import DeadLetterError
from celeriac.testing import Kit
from celeriac.workflow import WorkflowStatus
from celeriac.workflow.labels import Label, labels

Invoke = Callable[..., Result]


@pytest.fixture
def kit() -> Iterator[Kit]:
    app = Celery("shop", broker="sqlite:///unused.db", set_as_current=False)
    app.task(shared=False, name="shop.load")(_load)
    app.task(shared=False, name="shop.mail")(_mail)
    with Kit(app) as made:
        yield made


def _load(shop: int, *given: Any) -> int:
    if shop == 3:
        raise ConnectionError("the warehouse does not answer")
    return shop


def _mail(*given: Any) -> str:
    return "mailed"


@pytest.fixture
def cli(kit: Kit) -> Invoke:
    def invoke(*arguments: Any, on: Any = kit.app, **options: Any) -> Result:
        context = CLIContext(app=on, no_color=False, workdir=None)
        return CliRunner().invoke(command.workflow, [str(one) for one in arguments], obj=context, **options)

    return invoke


@pytest.fixture
def blocked(kit: Kit) -> str:
    """The id of a workflow of four tasks, one of them a dead letter."""
    load, mail = kit.app.tasks["shop.load"], kit.app.tasks["shop.mail"]
    canvas = chain(load.s(1), group(load.si(2), load.si(3)), mail.si())
    sent = kit.app.workflows.send(canvas, name="nightly\x1b[31m report")
    kit.drain()
    return str(sent.workflow_id)


def test_the_list_has_one_line_each(cli: Invoke, blocked: str) -> None:
    heading, line = cli("list").output.splitlines()
    assert heading.split() == ["WORKFLOW", "NAME", "STATE", "DONE", "SENT", "TOOK"]
    assert line.split()[:7] == [blocked, "nightly\\x1b[31m", "report", "blocked", "2", "of", "4"]
    assert cli("list", "--state", "failed").output == "None is failed.\n"


def test_of_nothing_it_says_that_there_is_nothing(cli: Invoke) -> None:
    assert cli("list").output == "There are none.\n"
    assert json.loads(cli("list", "--json").output) == []


def test_a_workflow_is_drawn_from_its_first_task_to_its_last(cli: Invoke, kit: Kit, blocked: str) -> None:
    [letter] = kit.dead_letters
    lines = cli("show", letter.task_id).output.splitlines()
    assert lines[0] == "nightly\\x1b[31m report  blocked  2 of 4 done"
    assert lines[1].startswith(f"{blocked}, sent ")
    assert [line.split(",")[0].rstrip() for line in lines[3:10]] == [
        "✓ shop.load(1)  succeeded",
        "│",
        "├─ ✓ shop.load[0](2)  succeeded",
        "├─ ✗ shop.load[1](3)  dead letter",
        "│",
        "‖ shop.mail  blocked",
        "",
    ]
    assert lines[6].endswith(letter.task_id)
    assert lines[-4].split() == ["ID", "FAILED", "TASK", "QUEUE", "REASON", "ATTEMPTS", "ERROR"]
    assert lines[-3].endswith("ConnectionError: the warehouse does not answer")
    assert lines[-1] == f"`celery -A shop workflow resume {blocked}` redrives what gave up."


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize("command_", ["list", "show"])
def test_a_pipe_gets_no_colours_and_no_blanks_at_the_end(
    cli: Invoke, blocked: str, command_: str, environment: dict[str, str]
) -> None:
    arguments = [command_, *([blocked] if command_ == "show" else [])]
    output = cli(*arguments, env=environment).output
    assert "\x1b" not in output
    assert [line for line in output.splitlines() if line != line.rstrip()] == []


def test_a_terminal_gets_colours_unless_somebody_wants_none(cli: Invoke, blocked: str) -> None:
    assert "\x1b[33mblocked" in cli("show", blocked, color=True).output
    assert "\x1b" not in cli("show", blocked, color=True, env={"NO_COLOR": "1"}).output


def test_programs_get_json(cli: Invoke, kit: Kit, blocked: str) -> None:
    found = json.loads(cli("show", blocked, "--json").output)
    assert (found["id"], found["state"], found["done"], found["size"]) == (blocked, "blocked", 2, 4)
    assert [(node["index"], node["arguments"]) for node in found["nodes"]] == [
        (None, "(1)"),
        (0, "(2)"),
        (1, "(3)"),
        (None, ""),
    ]
    assert [(node["task"], node["after"], node["state"], node["dead_letter"]) for node in found["nodes"]] == [
        ("shop.load", [], "succeeded", False),
        ("shop.load", [0], "succeeded", False),
        ("shop.load", [0], "failed", True),
        ("shop.mail", [1, 2], "blocked", False),
    ]
    [listed] = json.loads(cli("list", "--json", "--state", "blocked").output)
    assert listed == {key: value for key, value in found.items() if key != "nodes"}


def test_the_picture_is_written(cli: Invoke, blocked: str, tmp_path: Path) -> None:
    picture = tmp_path / "nightly.svg"
    assert cli("show", blocked, "--svg", picture).output == f"The picture is in {picture}.\n"
    assert picture.read_text(encoding="utf-8").startswith("<svg ")
    assert cli("show", blocked, "--svg", "-").output.startswith("<svg ")
    both = cli("show", blocked, "--svg", picture, "--json")
    assert both.exit_code == 2
    assert "ask for one of them" in both.output


def test_a_picture_that_cannot_be_written_is_no_traceback(cli: Invoke, blocked: str, tmp_path: Path) -> None:
    result = cli("show", blocked, "--svg", tmp_path / "away" / "nightly.svg")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert "No such file" in result.output


@pytest.mark.parametrize("arguments", [["show"], ["resume"], ["cancel"], ["show", "--json"]])
def test_an_id_that_nobody_knows_says_where_to_look(cli: Invoke, arguments: list[str]) -> None:
    result = cli(*arguments, "nobody")
    assert result.exit_code == 1
    assert "nobody is no workflow" in result.output
    assert "`celery -A shop workflow list`" in result.output


def test_the_beginning_of_an_id_will_do_where_it_is_that_of_one(cli: Invoke, kit: Kit, blocked: str) -> None:
    assert cli("show", blocked[:13]).output == cli("show", blocked[:20].upper() + "…").output
    load = kit.app.tasks["shop.load"]
    for _ in range(5):
        chain(load.s(1), load.s()).delay()
    several = cli("show", blocked[:4])
    assert several.exit_code == 1
    assert f"{blocked[:4]} is the beginning of several workflows' ids: " in several.output
    assert "and others. Give more of it" in several.output
    assert "is no workflow" in cli("show", blocked[:3]).output
    assert "is no workflow" in cli("show", "ffff").output


def test_a_table_that_is_too_wide_has_ids_that_can_be_typed() -> None:
    found = [
        status("01a21803-892e-7b41-b7b1-a730a157eb8a", "nightly report of the warehouses of the north, and the south"),
        status("01a21803-892e-7c41-b7b1-a730a157eb8a", "hourly"),
    ]
    short = _listing(found, 80)
    assert [line.split()[0] for line in short[1:]] == ["01a21803-892e-7b", "01a21803-892e-7c"]
    assert max(map(cells, map(click.unstyle, short))) == 80
    assert [line.split()[0] for line in _listing(found, None)[1:]] == [one.id for one in found]


def test_of_more_than_are_asked_for_it_says_so(cli: Invoke, kit: Kit, blocked: str) -> None:
    chain(kit.app.tasks["shop.load"].s(1), kit.app.tasks["shop.mail"].s()).delay()
    assert cli("list", "--limit", 1).output.endswith("\n\nThe newest 1; --newest shows more.\n")
    assert "shows more" not in cli("list", "--newest", 2).output
    assert len(json.loads(cli("list", "--newest", 1, "--json").output)) == 1


def test_lists_end_with_the_newest_as_all_lists_do(cli: Invoke, kit: Kit) -> None:
    load, mail = kit.app.tasks["shop.load"], kit.app.tasks["shop.mail"]
    for name in ("first", "second", "third"):
        kit.app.workflows.send(chain(load.si(3), mail.si()), name=name)
        kit.drain()
        kit.advance(1)
    assert [line.split()[1] for line in cli("list").output.splitlines()[1:]] == ["first", "second", "third"]
    assert [line.split()[1] for line in cli("list", "--newest", 2).output.splitlines()[1:3]] == ["second", "third"]
    assert [one["name"] for one in json.loads(cli("list", "--newest", 2, "--json").output)] == ["second", "third"]
    assert [one.name for one in kit.app.workflows.list(newest=2)] == ["third", "second"], "in Python the newest first"
    listed = CliRunner().invoke(dead, ["list", "--json"], obj=CLIContext(app=kit.app, no_color=False, workdir=None))
    ids = [letter["id"] for letter in json.loads(listed.stdout)]
    assert ids == sorted(ids)


def test_what_runs_or_goes_on_says_how_far_it_is(cli: Invoke, kit: Kit) -> None:
    def fill(self: Any) -> None:
        for number in self.iterate(range(9), give_way=1e-6):
            self.progress(number, 120, "shelves\x1b[31m")

    kit.app.task(shared=False, name="shop.fill", bind=True)(fill)
    sent = kit.app.workflows.send(chain(kit.app.tasks["shop.fill"].si(), kit.app.tasks["shop.mail"].si()))
    for _ in range(3):
        kit.run_one()
    line = cli("show", sent.workflow_id).output.splitlines()[3]
    assert line == "• shop.fill  waiting  [          ]    2%  2 of 120  shelves\\x1b[31m"
    [node, _] = json.loads(cli("show", sent.workflow_id, "--json").output)["nodes"]
    assert [node["progress"][name] for name in ("done", "total", "note")] == [2, 120, "shelves\x1b[31m"]
    assert "waiting, 2%, shelves\ufffd[31m" in cli("show", sent.workflow_id, "--svg", "-").output
    kit.drain()
    assert " of 120" not in cli("show", sent.workflow_id).output
    assert "2%" not in cli("show", sent.workflow_id, "--svg", "-").output


def test_without_a_ledger_it_says_what_is_missing(cli: Invoke) -> None:
    plain = Celery("plain", broker="memory://", set_as_current=False)
    result = cli("list", on=plain)
    assert result.exit_code == 2
    assert "keeps no workflows" in result.output
    assert "ledger=" in result.output


def test_what_gave_up_is_redriven(cli: Invoke, kit: Kit, blocked: str) -> None:
    assert cli("resume", blocked).output == (
        "1 dead letter of nightly\\x1b[31m report redriven; what waits for it goes on when it succeeds.\n"
    )
    assert [run.task for run in kit.drain()] == ["shop.load"]
    assert cli("resume", blocked).exit_code == 0
    kit.app.store.cancel_workflow(blocked, "me@host")
    refused = cli("resume", blocked)
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: workflow nightly\\x1b[31m report["), "the command was used as it should be"
    assert "was cancelled by me@host" in refused.output


@pytest.mark.parametrize(("reference", "told"), [("{}", True), ("99", False)])
def test_the_desk_says_where_dead_letters_of_a_workflow_are(kit: Kit, blocked: str, reference: str, told: bool) -> None:
    with pytest.raises(DeadLetterError, match=r"^no dead letter has the id or the task id ") as refused:
        kit.app.dead_letters.redrive(reference.format(blocked))
    assert ("redriven by `workflow resume`" in str(refused.value)) is told


@pytest.mark.parametrize(("on_failure", "state"), [("fail", "failed"), ("continue", "succeeded")])
def test_why_a_member_gave_up_is_shown_also_where_nothing_waits_for_it(
    cli: Invoke, kit: Kit, on_failure: Any, state: str
) -> None:
    load, mail = kit.app.tasks["shop.load"], kit.app.tasks["shop.mail"]
    sent = kit.app.workflows.send(chord([load.s(2), load.s(3)], mail.s()), on_failure=on_failure)
    kit.drain()
    lines = cli("show", sent.workflow_id).output.splitlines()
    assert f"  {state}  " in lines[0]
    assert lines[-1].endswith("ConnectionError: the warehouse does not answer")
    assert lines[-3] == ""


def test_it_is_told_who_did_it(cli: Invoke, kit: Kit, blocked: str) -> None:
    [letter] = kit.dead_letters
    assert cli("resume", blocked, "--as", "night shift", "--note", "mended").exit_code == 0
    kit.drain()
    (action, *_) = kit.app.dead_letters.log(letter.task_id)
    assert (action.who, action.note) == ("night shift", "mended")
    cli("cancel", blocked, "--as", "day shift")
    assert cli("show", blocked).output.endswith(" by day shift.\n")


def test_cancelling_says_how_far_it_had_come(cli: Invoke, kit: Kit, blocked: str) -> None:
    assert cli("cancel", blocked, "--let-run").output.endswith("is cancelled; 2 of 4 tasks had been done.\n")
    shown = cli("show", blocked).output.splitlines()
    assert shown[-1].startswith("Cancelled ")
    again = cli("cancel", blocked)
    assert again.exit_code == 0
    assert again.output.endswith(" is over, and cancelled: there is nothing to cancel.\n")


def test_programs_are_told_what_was_redriven_and_cancelled(cli: Invoke, kit: Kit, blocked: str) -> None:
    done = json.loads(cli("resume", blocked, "--json").output)
    assert (done["id"], done["state"], done["redriven"], done["gone"], done["refused"]) == (
        blocked,
        "running",
        1,
        0,
        [],
    )
    kit.drain()
    kit.app.pauses.pause(task="shop.load")
    done = json.loads(cli("cancel", blocked, "--json", "--as", "me").output)
    assert (done["id"], done["cancelled_by"], done["cancelled"], done["state"]) == (blocked, "me", True, "cancelled")
    assert set(done) - {"cancelled"} == set(json.loads(cli("list", "--json").output)[0])
    again = json.loads(cli("cancel", blocked, "--json").output)
    assert (again["cancelled"], again["cancelled_by"], again["state"]) == (False, "me", "cancelled")


def test_there_is_nothing_to_resume_of_what_has_succeeded(cli: Invoke, kit: Kit) -> None:
    load, mail = kit.app.tasks["shop.load"], kit.app.tasks["shop.mail"]
    canvas = chain(group(load.si(2), load.si(3)), mail.si())
    sent = kit.app.workflows.send(canvas, name="nightly", on_failure="continue")
    kit.drain()
    [letter] = kit.dead_letters
    result = cli("resume", sent.workflow_id)
    assert result.output == (
        "nightly has succeeded: there is nothing to resume.\n"
        f"It went on without 1 dead letter; `celery -A shop dead redrive {letter.id}` runs such by itself.\n"
    )
    assert result.exit_code == 0
    assert json.loads(cli("resume", sent.workflow_id, "--json").output)["redriven"] == 0
    assert kit.app.workflows.resume(sent).done == 0
    assert [one.id for one in kit.dead_letters] == [letter.id]
    assert kit.drain() == []
    other = chain(load.si(1), mail.si()).delay()
    kit.drain()
    name = kit.app.workflows.get(other).name
    assert cli("resume", other.workflow_id).output == f"{name} has succeeded: there is nothing to resume.\n"


def test_programs_are_told_what_is_not_redriven(cli: Invoke, kit: Kit) -> None:
    load = kit.app.tasks["shop.load"]
    sent = chain(load.si(3).set(expires=10), load.si(1)).delay()
    kit.drain()
    kit.advance(20)
    [letter] = kit.dead_letters
    result = cli("resume", sent.workflow_id, "--json")
    done = json.loads(result.stdout)
    assert (result.exit_code, done["redriven"], done["state"]) == (1, 0, "blocked")
    [refused] = done["refused"]
    assert (refused["id"], refused["task"], refused["why"]) == (letter.id, "shop.load", "RedriveExpired")


def test_what_has_succeeded_does_not_become_cancelled(cli: Invoke, kit: Kit) -> None:
    sent = chain(kit.app.tasks["shop.load"].s(1), kit.app.tasks["shop.mail"].s()).delay()
    kit.drain()
    assert "is over, and succeeded" in cli("cancel", sent.workflow_id).output
    assert json.loads(cli("show", sent.workflow_id, "--json").output)["state"] == "succeeded"


def status(workflow_id: str, name: str, nodes: int = 3) -> WorkflowStatus:
    workflow = Workflow(workflow_id, name, [Node(f"{place}", "shop.load") for place in range(nodes)])
    seen = progress(workflow, {}, {}, ())
    return WorkflowStatus(workflow, state_of(workflow, seen), seen)


def test_a_terminal_of_eighty_columns_is_not_overrun() -> None:
    said = "('2026-11-26', 'the warehouses of the no…)"
    members = [Node(f"{place}", "reports.warehouse." + "load" * 20, arguments=said) for place in range(20)]
    joins = [Node(f"j{place}", "夜間" * 30, list(range(place + 1))) for place in range(20)]
    workflow = Workflow("01a21789-859c-7777-8e85-234059edfce3", "nightly " * 30, members + joins)
    nodes = progress(workflow, {}, {}, ())
    lines = drawn(WorkflowStatus(workflow, state_of(workflow, nodes), nodes), 80)
    assert max(cells(click.unstyle(line)) for line in lines) <= 80
    assert "after (1), (2), (3) and 17 more" in lines[-1]


def test_how_far_a_task_is_overruns_no_line() -> None:
    workflow = Workflow("w", "n", [Node("a", "shop.shelves.fill_all_shelves")])
    [one] = seen = progress(workflow, {"a": Record("a", 0, "STARTED", closed=False)}, {}, ())
    one.reported = Reported(60, 120, "the shelves of the warehouses of the north, " * 9, 0.0)
    [*_, line] = drawn(WorkflowStatus(workflow, state_of(workflow, seen), seen), 80)
    assert cells(click.unstyle(line)) == 80
    assert click.unstyle(line).startswith("▶ …all_shelves  running  [#####     ]   50%  60 of 120  the shelves ")


@pytest.mark.parametrize(
    ("firsts", "thens", "indexes"),
    [
        # Of five members the second and the fourth are chains, whose steps have their places.
        (["a"] * 5, {5: ("b", 1), 6: ("b", 3), 7: ("c", 5), 8: ("c", 6)}, [0, 1, 2, 3, 4, 1, 3, 1, 3]),
        # Of two tasks, whose places do not tell their steps apart.
        (["a", "a", "x", "x"], {4: ("b", 0), 5: ("b", 2)}, [0, 1, 0, 1, 0, 1]),
        # One that two wait for is no step of either's chain.
        (["a", "a"], {2: ("b", 1), 3: ("b", 1)}, [0, 1, 0, 1]),
        (["a", "b"], {2: ("c", 0)}, [None, None, None]),
    ],
)
def test_tasks_that_stand_side_by_side_have_numbers(
    firsts: list[str], thens: dict[int, tuple[str, int]], indexes: list[int | None]
) -> None:
    nodes = [Node(f"{place}", task) for place, task in enumerate(firsts)]
    nodes += [Node(f"{place}", task, [before]) for place, (task, before) in thens.items()]
    assert [label.index for label in labels(nodes)] == indexes


def test_what_has_no_room_for_all_of_it_keeps_its_name_longest() -> None:
    label = Label("reports.load", 3, "('2026-11-26', 'north')")
    shown = [label.fitting(lambda text, room=room: cells(text) <= room) for room in (38, 34, 30, 24, 12, 9, 6)]  # type: ignore[misc]
    assert shown == [
        "reports.load[3]('2026-11-26', 'north')",
        "…ts.load[3]('2026-11-26', 'north')",
        "…load[3]('2026-11-26', 'nort…)",
        "…load[3]('2026-11-26',…)",
        "…load[3]('…)",
        "…load[3]",
        "…ad[3]",
    ]


def test_of_many_the_number_comes_first() -> None:
    label = Label("shop.load → shop.clean", size=2_500)
    shown = [label.fitting(lambda text, room=room: cells(text) <= room) for room in (30, 29, 20, 9, 5)]  # type: ignore[misc]
    assert shown == [
        "2,500 × shop.load → shop.clean",
        "2,500 × …load → …clean",
        "2,500 × …load → …cl…",
        "2,500 × …",
        "…",
    ]


def test_what_steers_a_terminal_stays_out_of_arguments() -> None:
    workflow = Workflow("w", "n", [Node("a", "t", arguments="('\x1b[31m')")])
    seen = progress(workflow, {}, {}, ())
    lines = drawn(WorkflowStatus(workflow, state_of(workflow, seen), seen), 80)
    assert lines[3] == f"{click.style('·', fg='bright_black')} t('\\x1b[31m')"
