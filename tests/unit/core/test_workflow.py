"""What a workflow is, and what has become of it, from what Celery says and the ledger has."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.core.attempt import Record
from celeriac.core.workflow import Counted, Membership, Node, OnFailure, Workflow
from celeriac.core.workflow_arguments import MOST, shown_arguments
from celeriac.core.workflow_nodes import FOLDED_ABOVE, Sent, name_of, nodes_from
from celeriac.core.workflow_state import NodeState, State, progress, snapshot, state_of


def step(task_id: str, task: str = "t", **options: Any) -> dict[str, Any]:
    return {"task": task, "options": {"task_id": task_id, **options}, "kwargs": {}}


def group(*tasks: dict[str, Any], task_id: str = "g") -> dict[str, Any]:
    return {"task": "celery.group", "kwargs": {"tasks": list(tasks)}, "options": {"task_id": task_id}}


def edges(nodes: list[Node]) -> dict[str, list[str]]:
    return {node.id: [nodes[place].id for place in node.after] for node in nodes}


def first(task_id: str, *chain: dict[str, Any], **options: Any) -> Sent:
    return Sent(task_id, "t", {"chain": list(reversed(chain)), **options})


def test_a_chain_is_one_after_the_other() -> None:
    nodes = nodes_from([first("a", step("b"), step("c"))])
    assert edges(nodes) == {"a": [], "b": ["a"], "c": ["b"]}
    assert not any(node.joins for node in nodes)


def test_a_body_waits_for_all_members_and_stands_behind_them() -> None:
    body = step("body", chain=[step("after")])
    nodes = nodes_from([first(name, chord=body, group_id="g") for name in "abc"], "g")
    assert [node.id for node in nodes] == ["a", "b", "c", "body", "after"]
    assert edges(nodes)["body"] == ["a", "b", "c"]
    assert [node.joins for node in nodes] == [False, False, False, True, False]


def test_a_body_of_many_is_one_node_that_waits_for_all_members() -> None:
    body = group(*[step(f"m{number}") for number in range(FOLDED_ABOVE + 1)], task_id="body")
    nodes = nodes_from([first(name, chord=body, group_id="g") for name in "abc"], "g")
    assert [(node.id, node.size) for node in nodes] == [("a", 1), ("b", 1), ("c", 1), ("body", FOLDED_ABOVE + 1)]
    assert (nodes[-1].after, nodes[-1].joins) == ([0, 1, 2], True)


def test_a_chord_within_a_chain() -> None:
    inner = {
        "task": "celery.chord",
        "options": {},
        "kwargs": {"header": group(step("b"), step("c")), "body": step("d")},
    }
    nodes = nodes_from([first("a", inner, step("e"))])
    assert edges(nodes) == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]}


def test_a_chord_as_a_member_of_another() -> None:
    outer = step("outer")
    joined = step("inner", chord=outer, group_id="o")
    inner: dict[str, Any] = {
        "kwargs": {"header": group(step("b", chord=joined), step("c", chord=joined)), "body": joined},
        "chord": outer,
        "group_id": "o",
    }
    nodes = nodes_from(
        [Sent("", "celery.chord", inner, None, inner["kwargs"]), first("a", chord=outer, group_id="o")], "o"
    )
    assert edges(nodes) == {"b": [], "c": [], "inner": ["b", "c"], "a": [], "outer": ["inner", "a"]}


def test_each_task_has_what_it_is_given() -> None:
    members = [Sent(f"m{number}", "t", {}, [number], {"day": "monday"}) for number in range(2)]
    nodes = nodes_from([*members, Sent("a", "t", {"chain": [{**step("b"), "args": [7]}]}, (), {})], "g")
    assert [node.arguments for node in nodes] == ["(0, day='monday')", "(1, day='monday')", "", "(7)"]
    assert Workflow.nodes_of(Workflow("w", "n", nodes).shape()) == nodes
    assert Workflow.nodes_of('[["a","t",[],1,0]]') == [Node("a", "t")], "as it was kept without"


def test_many_that_are_one_node_have_none() -> None:
    [many] = nodes_from([Sent(f"{number}", "t", {}, [number]) for number in range(FOLDED_ABOVE + 1)], "g")
    assert many.arguments == ""


@pytest.mark.parametrize(
    ("args", "kwargs", "options", "shown"),
    [
        ((), {}, {}, ""),
        (None, None, {}, ""),
        ((1, 2.5, None, "a'b"), {}, {}, """(1, 2.5, None, "a'b")"""),
        (
            ("secret", 7),
            {"card": "4242"},
            {"argsrepr": "('***', 7)", "kwargsrepr": "{'card': '***'}"},
            "('***', 7, 'card': '***')",
        ),
        (("secret",), {"day": 1}, {"argsrepr": ""}, "(day=1)"),
        (("secret",), {}, {"argsrepr": "<hidden>"}, "(<hidden>)"),
        ((), {"day": "secret"}, {"kwargsrepr": "{}"}, ""),
        (("x" * 10**6,), {}, {}, "('xxxxxxxxx...xxxxxxxxxx')"),
        (([1, 2, 3, 4, 5], {"a": 1}), {}, {}, "([1, 2, 3, ...], {'a': 1})"),
        ((10**5000,), {}, {}, "(<int>)"),
        (("line\nbreak", "\x00\ud800"), {}, {}, r"('line\nbreak', '\x00\ud800')"),
        (range(100), {}, {}, "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,…)"),
    ],
)
def test_arguments_in_a_few_letters(args: Any, kwargs: Any, options: Any, shown: str) -> None:
    found = shown_arguments("t", args, kwargs, options)
    assert found == shown
    assert len(found) <= MOST


def test_an_argument_that_cannot_be_shown_can_be_sent() -> None:
    class Rude:
        def __repr__(self) -> str:
            return "\x00\ud800\n"

    class Ruder:
        def __repr__(self) -> str:
            raise SystemError

    assert shown_arguments("t", [Rude()], {}, {}).isprintable()
    assert "Ruder" in shown_arguments("t", [Ruder()], {}, {})
    assert shown_arguments("celery.starmap", (), {"task": {"task": "t"}, "it": [(1, 2)]}, {}) == "(it=[(1, 2)])"


def test_links_come_after_what_they_are_linked_to() -> None:
    assert edges(nodes_from([first("a", link=[step("b")])])) == {"a": [], "b": ["a"]}


@pytest.mark.parametrize(("count", "folded"), [(FOLDED_ABOVE, 1), (FOLDED_ABOVE + 1, FOLDED_ABOVE + 1)])
def test_many_equal_members_are_one_node(count: int, folded: int) -> None:
    sent = [first(f"m{number}", chord=step("body"), group_id="g") for number in range(count)]
    nodes = nodes_from(sent, "g")
    assert max(node.size for node in nodes) == folded
    assert sum(node.size for node in nodes) == count + 1
    assert nodes[-1].id == "body"
    assert nodes[-1].joins
    later = nodes_from([first("a", group(*[step(f"m{number}") for number in range(count)]))])
    assert max(node.size for node in later) == folded


def chain_step(*steps: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"task": "celery.chain", "options": options, "kwargs": {"tasks": list(steps)}}


def test_many_chains_are_one_node() -> None:
    sent = [first(f"m{number}", step(f"n{number}", "shop.clean"), chord=step("body")) for number in range(30)]
    nodes = nodes_from(sent, "g")
    assert [(node.id, node.task, node.size) for node in nodes] == [("g", "t → shop.clean", 30), ("body", "t", 1)]
    assert nodes[1].joins
    assert name_of(nodes) == "t → clean → t"
    chains = [chain_step(step(f"a{n}"), chain_step(step(f"b{n}"), step(f"c{n}"), step(f"d{n}"))) for n in range(30)]
    nodes = nodes_from([first("a", group(*chains))])
    assert [(node.task, node.size) for node in nodes] == [("t", 1), ("t → t → t → …", 30)]
    mixed = nodes_from([first("a", group(*chains, step("e"), step("f", "x")))])
    assert (mixed[1].task, mixed[1].size) == ("t → t → t → …, t …", 32)


@pytest.mark.parametrize("inner", [group(step("x"), step("y")), chain_step(step("z"), group(step("x"), step("y")))])
def test_members_that_lead_to_several_are_not_folded(inner: dict[str, Any]) -> None:
    nodes = nodes_from([first(f"m{number}") for number in range(30)] + [first("last", inner)], "g")
    assert {node.size for node in nodes} == {1}
    assert len(nodes) in (33, 34)
    nodes = nodes_from([first("a", group(*[step(f"m{number}") for number in range(30)], chain_step(step("z"), inner)))])
    assert {node.size for node in nodes} == {1}


def test_what_celery_says_twice_makes_no_circle() -> None:
    body = step("body", chord=step("body"))
    assert edges(nodes_from([first("a", chord=body, group_id="g")])) == {"a": [], "body": ["a"]}


def test_a_long_canvas_takes_no_time() -> None:
    body: dict[str, Any] = step("end")
    for depth in range(20):
        body = step(
            f"b{depth}",
            chain=[
                {
                    "task": "celery.chord",
                    "options": {},
                    "kwargs": {
                        "header": group(*[step(f"{depth}-{n}", chord=body, group_id=f"g{depth}") for n in range(15)]),
                        "body": body,
                    },
                }
            ],
        )
    nodes = nodes_from([first("a", body)])
    assert len(nodes) == 20 * 16 + 2


def test_it_is_named_by_its_first_tasks() -> None:
    nodes = [Node(str(place), f"shop.{name}") for place, name in enumerate(["load", "load", "sum", "mail", "tidy"])]
    assert name_of(nodes) == "load → sum → mail → …"


def test_it_travels_and_comes_back() -> None:
    part = Membership("w", "continue", folded="group")
    assert Membership.from_header(part.header()) == part
    assert Membership.from_header(None) is None
    assert Membership.from_header(["w"]) is None
    nodes = [Node("a", "t"), Node("g", "t", [0], 30, joins=True)]
    assert Workflow.nodes_of(Workflow("w", "n", nodes).shape()) == nodes


# -- states


def chain_of(*names: str, on_failure: OnFailure = "block") -> Workflow:
    nodes = [Node(name, "t", [place - 1] if place else []) for place, name in enumerate(names)]
    return Workflow("w", "n", nodes, on_failure)


def record(task_id: str, state: str = "SUCCESS", **fields: Any) -> Record:
    fields.setdefault("started_at", 1.0)
    return Record(task_id, 0, state, fields.pop("closed", state in ("SUCCESS", "FAILURE", "REVOKED")), **fields)


def look(
    workflow: Workflow,
    *records: Record,
    counted: dict[str, Counted] | None = None,
    lettered: tuple[str, ...] = (),
    running: dict[str, int] | None = None,
) -> tuple[State, list[str]]:
    nodes = progress(workflow, {one.task_id: one for one in records}, counted or {}, lettered, running or {})
    return state_of(workflow, nodes), [one.state.value for one in nodes]


def test_it_runs_until_all_have_succeeded() -> None:
    chain = chain_of("a", "b")
    assert look(chain) == (State.RUNNING, ["planned", "planned"])
    waits = record("a", "PENDING", started_at=None)
    assert look(chain, waits) == (State.RUNNING, ["waiting", "planned"])
    retried = record("a", "RETRY", closed=True)
    assert look(chain, retried) == (State.RUNNING, ["waiting", "planned"])
    assert look(chain, record("a"), record("b", "STARTED")) == (State.RUNNING, ["succeeded", "running"])
    assert look(chain, record("a"), record("b")) == (State.SUCCEEDED, ["succeeded", "succeeded"])


def test_a_dead_letter_blocks_it_and_what_comes_after() -> None:
    chain = chain_of("a", "b", "c")
    told = record("b", "FAILURE", started_at=None), record("c", "FAILURE", started_at=None)
    found = look(chain, record("a", "FAILURE"), *told, lettered=("a",))
    assert found == (State.BLOCKED, ["failed", "blocked", "blocked"])
    assert look(chain, record("a"), record("b", "PENDING", started_at=None), told[1]) == (
        State.RUNNING,
        ["succeeded", "waiting", "planned"],
    )


def test_what_is_no_dead_letter_fails_it() -> None:
    assert look(chain_of("a", "b"), record("a", "FAILURE")) == (State.FAILED, ["failed", "skipped"])
    failing = chain_of("a", "b", on_failure="fail")
    assert look(failing, record("a", "FAILURE"), lettered=("a",))[0] is State.FAILED


@pytest.mark.parametrize("on_failure", ["block", "fail", "continue"])
def test_nothing_waits_for_what_cannot_be_redriven(on_failure: OnFailure) -> None:
    chain = chain_of("a", "b", "c", on_failure=on_failure)
    told = record("b", "FAILURE", started_at=None), record("c", "FAILURE", started_at=None)
    for ended in ((), told):
        assert look(chain, record("a", "FAILURE"), *ended) == (State.FAILED, ["failed", "skipped", "skipped"])
    joined = Workflow("w", "n", [Node("a", "t"), Node("b", "t"), Node("body", "t", [0, 1], joins=True)])
    both = record("a", "FAILURE"), record("b", "FAILURE")
    assert look(joined, *both, lettered=("a",)) == (State.BLOCKED, ["failed", "failed", "skipped"])
    assert look(joined, *both, lettered=("a", "b")) == (State.BLOCKED, ["failed", "failed", "blocked"])
    many = Workflow("w", "n", [Node("g", "t", [], 30), Node("body", "t", [0], joins=True)])
    assert look(many, counted={"g": Counted(29, 1)}) == (State.FAILED, ["failed", "skipped"])


def test_what_another_ones_dead_letter_holds_up_is_not_skipped() -> None:
    """As where a chain that has taken a task's place has broken."""
    chain = chain_of("a", "b")
    found = progress(chain, {"a": record("a", "FAILURE")}, {}, (), elsewhere=True)
    assert [one.state for one in found] == [NodeState.FAILED, NodeState.BLOCKED]


def test_a_cancelled_one_is_over_when_nothing_runs() -> None:
    chain = chain_of("a", "b")
    chain.cancelled_at = 1.0
    assert look(chain, record("a", "STARTED"))[0] is State.RUNNING
    assert look(chain, record("a", "REVOKED")) == (State.CANCELLED, ["cancelled", "cancelled"])


@pytest.mark.parametrize(
    ("counted", "state"),
    [
        (Counted(0, 0), "waiting"),
        (Counted(5, 0), "running"),
        (Counted(30, 0), "succeeded"),
        (Counted(29, 1), "failed"),
        (Counted(28, 1, 1), "failed"),
        (Counted(29, 0, 1), "cancelled"),
        (Counted(28, 0, 1), "running"),
    ],
)
def test_many_are_counted(counted: Counted, state: str) -> None:
    many = Workflow("w", "n", [Node("g", "t", [], 30)])
    [one] = progress(many, {}, {"g": counted}, ())
    assert (one.state.value, one.succeeded, one.failed, one.cancelled) == (state, *counted[:3])


@pytest.mark.parametrize(
    ("failed", "letters", "again", "left"), [(3, 0, 1, 2), (3, 2, 1, 2), (3, 3, 1, 3), (2, 0, 5, 0), (0, 1, 1, 0)]
)
def test_what_was_redriven_has_not_ended(failed: int, letters: int, again: int, left: int) -> None:
    assert Counted.of(5, failed, 1, letters, again) == Counted(5, left, 1, letters)


def test_it_goes_on_without_a_member_where_that_was_said() -> None:
    nodes = [Node("a", "t"), Node("b", "t"), Node("body", "t", [0, 1], joins=True)]
    workflow = Workflow("w", "n", nodes, "continue")
    ended = record("a"), record("b", "FAILURE")
    assert look(workflow, *ended, lettered=("b",))[0] is not State.SUCCEEDED
    assert look(workflow, *ended, record("body"), lettered=("b",))[0] is State.SUCCEEDED


def test_what_was_noted_outlives_results() -> None:
    workflow = chain_of("a", "b")
    nodes = progress(workflow, {"a": record("a", finished_at=3.0)}, {}, ())
    workflow.outcome = snapshot(nodes)
    [first_node, second] = progress(workflow, {}, {}, ())
    assert (first_node.state, first_node.finished_at) == (NodeState.SUCCEEDED, 3.0)
    assert second.state is NodeState.PLANNED


def test_what_is_linked_without_an_id_cannot_be_followed() -> None:
    linked = {"task": "t", "options": {}, "kwargs": {}}
    assert edges(nodes_from([first("a", step("b", link=[linked]), link=[linked])])) == {"a": [], "b": ["a"]}


def test_the_body_of_a_chord_of_one_joins_it() -> None:
    nodes = nodes_from([first("a", chord=step("body"), group_id="g")], "g")
    assert [node.joins for node in nodes] == [False, True]
    inner = {"task": "celery.chord", "options": {}, "kwargs": {"header": group(step("b")), "body": step("d")}}
    assert [node.joins for node in nodes_from([first("a", inner)])] == [False, False, True]


@pytest.mark.parametrize("state", ["REVOKED", "IGNORED"])
def test_nothing_comes_after_what_was_revoked_or_ignored(state: str) -> None:
    cancelled = record("a", state, closed=True)
    assert look(chain_of("a", "b", "c"), cancelled) == (State.CANCELLED, ["cancelled"] * 3)
    joined = Workflow("w", "n", [Node("a", "t"), Node("b", "t"), Node("body", "t", [0, 1], joins=True)])
    told = record("body", "FAILURE", started_at=None)
    assert look(joined, cancelled, record("b"), told) == (State.CANCELLED, ["cancelled", "succeeded", "cancelled"])
    assert look(joined, cancelled, record("b", "STARTED"))[0] is State.RUNNING
    joined.on_failure = "continue"
    assert look(joined, cancelled, record("b"), record("body"))[0] is State.SUCCEEDED


def test_many_in_the_middle_that_have_failed_block_what_comes_after() -> None:
    workflow = Workflow("w", "n", [Node("a", "t"), Node("g", "t", [0], 30), Node("body", "t", [1], joins=True)])
    found = look(workflow, record("a"), counted={"g": Counted(28, 2, letters=1)})
    assert found == (State.BLOCKED, ["succeeded", "failed", "blocked"])


def test_many_of_which_none_can_be_redriven_have_failed() -> None:
    """As a single task that raises what it declares."""
    workflow = Workflow("w", "n", [Node("g", "t", [], 30)])
    assert look(workflow, counted={"g": Counted(29, 1)}) == (State.FAILED, ["failed"])


def test_many_that_did_not_begin_any_more_are_cancelled() -> None:
    workflow = Workflow("w", "n", [Node("g", "t", [], 30)], cancelled_at=1.0)
    assert look(workflow, counted={"g": Counted(3, 0, 27)}) == (State.CANCELLED, ["cancelled"])
    assert look(workflow, counted={"g": Counted(3, 0, 20)}) == (State.CANCELLED, ["cancelled"])
    assert look(workflow, counted={"g": Counted(3, 0, 20)}, running={"g": 2}) == (State.RUNNING, ["running"])
    assert look(workflow, counted={"g": Counted(3, 1, 20)}, running={"g": 2}) == (State.RUNNING, ["failed"])
    assert look(workflow, counted={"g": Counted(3, 1, 26)}) == (State.CANCELLED, ["failed"])
    workflow.on_failure = "fail"
    assert look(workflow, counted={"g": Counted(3, 1, 26)}) == (State.FAILED, ["failed"])


def test_what_reads_failed_for_another_is_counted_as_what_it_is() -> None:
    chain = chain_of("a", "b", "c")
    told = [record(name, "FAILURE", started_at=None) for name in "bc"]
    ended = {one.task_id: one for one in (record("a", "FAILURE"), *told)}
    counts = [(one.failed, one.cancelled) for one in progress(chain, ended, {}, ("a",))]
    assert counts == [(1, 0), (0, 0), (0, 0)]
    chain.cancelled_at = 1.0
    counts = [(one.failed, one.cancelled) for one in progress(chain, ended, {}, ("a",))]
    assert counts == [(1, 0), (0, 1), (0, 1)]


def test_those_that_run_are_counted() -> None:
    [one] = progress(Workflow("w", "n", [Node("g", "t", [], 30)]), {}, {}, (), {"g": 2})
    assert (one.state, one.running) == (NodeState.RUNNING, 2)


def test_what_was_cancelled_is_known_when_the_counts_are_forgotten() -> None:
    workflow = Workflow("w", "n", [Node("g", "t", [], 30)])
    workflow.outcome = snapshot(progress(workflow, {}, {"g": Counted(20, 4, 6)}, ()))
    [one] = progress(workflow, {}, {}, ())
    assert (one.state, one.succeeded, one.failed, one.cancelled) == (NodeState.FAILED, 20, 4, 6)


def test_a_chord_that_has_grown_is_as_large_as_it_is_now() -> None:
    [one] = progress(Workflow("w", "n", [Node("g", "t", [], 30)]), {}, {"g": Counted(33, 0)}, ())
    assert (one.state, one.node.size) == (NodeState.SUCCEEDED, 33)


def test_a_state_equals_its_word_and_reads_as_it() -> None:
    found: list[str] = [State.BLOCKED, NodeState.PLANNED]
    assert found == ["blocked", "planned"]
    assert (f"{State.BLOCKED}", str(State.BLOCKED), "%s" % State.BLOCKED) == ("blocked",) * 3  # noqa: UP031  # as logging does


def test_it_stays_blocked_when_the_results_are_forgotten() -> None:
    workflow = chain_of("a", "b")
    workflow.outcome = snapshot(progress(workflow, {"a": record("a", "FAILURE")}, {}, ("a",)))
    assert look(workflow, lettered=("a",)) == (State.BLOCKED, ["failed", "blocked"])
    assert look(workflow)[0] is State.FAILED


def test_going_on_without_is_decided_where_it_ends() -> None:
    nodes = [Node("a", "t"), Node("b", "t", [0]), Node("c", "t"), Node("body", "t", [1, 2], joins=True)]
    workflow = Workflow("w", "n", nodes, "continue")
    ended = record("a", "FAILURE"), record("b", "FAILURE", started_at=None), record("c")
    assert look(workflow, *ended, lettered=("a",))[0] is State.RUNNING
    assert look(workflow, *ended, record("body"), lettered=("a",))[0] is State.SUCCEEDED
    chain = chain_of("a", "b", on_failure="continue")
    assert look(chain, record("a", "FAILURE"), lettered=("a",)) == (State.BLOCKED, ["failed", "blocked"])


def test_who_cancels_what_is_through_changes_nothing() -> None:
    chain = chain_of("a", "b")
    chain.cancelled_at = 1.0
    assert look(chain, record("a"), record("b")) == (State.SUCCEEDED, ["succeeded"] * 2)
    many = Workflow("w", "n", [Node("g", "t", [], 30)], cancelled_at=1.0)
    assert look(many, counted={"g": Counted(30, 0)}) == (State.SUCCEEDED, ["succeeded"])


def test_one_that_was_to_fail_has_failed() -> None:
    chain = chain_of("a", "b", on_failure="fail")
    chain.cancelled_at = 1.0
    assert look(chain, record("a", "FAILURE"), lettered=("a",)) == (State.FAILED, ["failed", "cancelled"])
    assert look(chain)[0] is State.CANCELLED
