"""The nodes of a canvas, and what each waits for.

Pure: a canvas comes as Celery's signatures, with their frozen ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from celeriac.core.workflow import Node
from celeriac.core.workflow_arguments import shown_arguments

#: Members of a group above which they are one node with a count.
FOLDED_ABOVE = 20
#: What Celery calls the steps that are no tasks of their own.
_PARTS = _GROUP, _CHORD, _CHAIN = "celery.group", "celery.chord", "celery.chain"
#: Between the names of what comes one after the other.
_THEN = " → "


class Sent(NamedTuple):
    """A task that is sent: its id, its name, the options that say what comes after it, and its arguments."""

    task_id: str
    task: str
    options: Mapping[str, Any]
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None

    def signature(self) -> dict[str, Any]:
        """As it stands within others."""
        return {"task": self.task, "options": self.options, "args": self.args, "kwargs": self.kwargs}


def nodes_from(sent: Sequence[Sent], group_id: str | None = None) -> list[Node]:
    """The nodes of a canvas, each behind those that it waits for.

    Args:
        sent: the tasks with which it begins: one, or the members of a group.
        group_id: the group's.
    """
    builder = _Builder()
    if group_id is None:
        for one in sent:
            builder.sent(one, [])
    else:
        builder.group(group_id, sent, [])
    for node in builder.nodes:
        if len(node.after) == 1:  # nearly all are steps of chains
            [before] = node.after
            node.joins = before in builder.joined or builder.nodes[before].size > 1
        else:
            node.joins = bool(node.after)
    return _in_order(builder.nodes)


def _in_order(nodes: list[Node]) -> list[Node]:
    """Each behind those that it waits for, otherwise as they were."""
    for place, node in enumerate(nodes):
        node.after.sort()
        if node.after and node.after[-1] > place:
            return _put_in_order(nodes)
    return nodes


def _put_in_order(nodes: list[Node]) -> list[Node]:
    left = [len(node.after) for node in nodes]
    followers: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        for before in node.after:
            followers.setdefault(before, []).append(place)
    ready = [place for place, count in enumerate(left) if count == 0]
    order: list[int] = []
    while ready:
        place = heappop(ready)
        order.append(place)
        for follower in followers.get(place, ()):
            left[follower] -= 1
            if left[follower] == 0:
                heappush(ready, follower)
    new = {place: number for number, place in enumerate(order)}
    for node in nodes:
        node.after = sorted(new[place] for place in node.after)
    return [nodes[place] for place in order]


def name_of(nodes: Sequence[Node]) -> str:
    """What a workflow is called that nobody has named: its first tasks."""
    found = (_THEN.join(name.rpartition(".")[2] for name in node.task.split(_THEN)) for node in nodes)
    return _one_after_the_other(list(dict.fromkeys(found)))


class _Builder:
    """Follows signatures from what is sent to what comes after it. Each method gives the places that end the part."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        #: Places of what ends a member of a chord, which may have no other.
        self.joined: set[int] = set()
        #: By its id, where a node is and what ends what it leads to: the body of a chord is met with each member.
        self._known: dict[str, tuple[int, list[int]]] = {}

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def sent(self, sent: Sent, after: list[int]) -> list[int]:
        """What is sent, which may be a chain, a group or a chord itself."""
        if sent.task not in _PARTS:
            return self.task(sent, after)
        return self._step(sent.signature(), after)

    def task(self, sent: Sent, after: list[int]) -> list[int]:
        if not sent.task_id:
            return after  # what is linked gets an id when it is sent, and cannot be followed
        known = self._met_again(sent.task_id, after)
        if known is not None:
            return known
        arguments = shown_arguments(sent.task, sent.args, sent.kwargs, sent.options)
        place = self._add(Node(sent.task_id, sent.task, list(after), arguments=arguments))
        self._known[sent.task_id] = place, [place]
        options, tail = sent.options, [place]
        if links := options.get("link"):
            for link in _listed(links):
                self._step(link, [place])
        if chain := options.get("chain"):
            tail = self._follow(_listed(chain), tail)
        tail = self._join(tail, options)
        self._known[sent.task_id] = place, tail
        return tail

    def _met_again(self, node_id: str, after: list[int]) -> list[int] | None:
        """The ends of what is known already, which waits for these too; None where it is not."""
        if node_id not in self._known:
            return None
        place, tail = self._known[node_id]
        node = self.nodes[place]
        new = [before for before in after if before not in node.after]
        # What a part ends with comes back as its own end where Celery says twice what joins what.
        if new and not self._leads_to(place, new):
            node.after += new
        return tail

    def _leads_to(self, place: int, others: Sequence[int]) -> bool:
        """Whether one of the others is the node, or waits for it."""
        before, seen = list(others), set(others)
        while before:
            one = before.pop()
            if one == place:
                return True
            fresh = [other for other in self.nodes[one].after if other not in seen]
            seen.update(fresh)
            before += fresh
        return False

    def _follow(self, chain: Sequence[Any], after: list[int]) -> list[int]:
        """The steps of a chain, which Celery keeps the last one first."""
        for step in reversed(chain):
            after = self._step(step, after)
        return after

    def _join(self, ends: list[int], options: Mapping[str, Any]) -> list[int]:
        """What a member of a chord leads to: its body, which waits for all of them."""
        chord = options.get("chord")
        if not isinstance(chord, dict):
            return ends
        self.joined.update(ends)
        return self._step(chord, ends)

    def _step(self, step: Any, after: list[int]) -> list[int]:
        """A signature that was frozen, wherever it stands."""
        if not isinstance(step, dict):
            return after
        name, options, kwargs = step.get("task"), step.get("options") or {}, step.get("kwargs") or {}
        if name == _CHAIN:
            return self._chain(kwargs.get("tasks") or [], after, options)
        if name == _GROUP:
            return self._group(kwargs.get("tasks") or [], after, options)
        if name == _CHORD:
            return self._chord(kwargs, after, options)
        sent = Sent(str(options.get("task_id") or ""), str(name), options, step.get("args"), kwargs)
        return self.task(sent, after)

    def _chain(self, tasks: Sequence[Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        for task in tasks:
            after = self._step(task, after)
        return self._join(after, options)

    def _group(self, tasks: Sequence[Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        group_id = str(options.get("task_id") or options.get("group_id") or "")
        name = name_of_many(tasks)
        if name is None:
            return [end for task in tasks for end in self._step(task, after)]
        known = self._met_again(group_id, after)
        if known is None:
            place = self._add(Node(group_id, name, list(after), len(tasks)))
            _, known = self._known[group_id] = place, [place]
        return known

    def _chord(self, kwargs: Mapping[str, Any], after: list[int], options: Mapping[str, Any]) -> list[int]:
        header, body = kwargs.get("header"), kwargs.get("body")
        header = header if isinstance(header, dict) else {"task": _GROUP, "kwargs": {"tasks": header or []}}
        ends = self._step(header, after)
        self.joined.update(ends)
        tail = self._step(body, ends)
        return self._join(self._follow(_listed(options.get("chain")), tail or ends), options)

    def group(self, group_id: str, members: Sequence[Sent], after: list[int]) -> list[int]:
        """Members that are sent together."""
        name = name_of_many([member.signature() for member in members])
        if name is None:
            return [end for member in members for end in self.sent(member, after)]
        place = self._add(Node(group_id, name, list(after), len(members)))
        return self._join([place], members[0].options)


def name_of_many(members: Sequence[Any]) -> str | None:
    """What the members of a group, as signatures, are called that are one node; None where each has its own.

    They are one where they are many, and each is one task or a chain of such.
    """
    if len(members) <= FOLDED_ABOVE:
        return None
    names: dict[str, None] = {}
    for member in members:
        steps = _steps_of(member)
        if steps is None:
            return None
        names[_one_after_the_other(steps)] = None
    known = list(names)
    return ", ".join(known[:2]) + (" …" if len(known) > 2 else "")  # noqa: PLR2004  # two can be read at a glance


def _steps_of(signature: Any) -> list[str] | None:
    """The names of the tasks of a signature, where each has at most one that it waits for."""
    name, options = signature.get("task"), signature.get("options") or {}
    found: list[str] = [] if name == _CHAIN else [str(name)]
    inner = (signature.get("kwargs") or {}).get("tasks") or () if name == _CHAIN else ()
    for step in (*inner, *reversed(_listed(options.get("chain")))):
        steps = _steps_of(step) if isinstance(step, dict) else None
        if steps is None:
            return None
        found += steps
    return found if found and name not in (_GROUP, _CHORD) else None


def last_task(signature: Any) -> Any:
    """The signature of the task that a signature ends with, where it is a chain."""
    while signature["task"] == _CHAIN and signature["kwargs"].get("tasks"):
        signature = signature["kwargs"]["tasks"][-1]
    return signature


def _one_after_the_other(names: Sequence[str]) -> str:
    """The first few of them: as many as a line has room for."""
    return _THEN.join(names[:3]) + (f"{_THEN}…" if len(names) > 3 else "")  # noqa: PLR2004  # one number, said above


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
