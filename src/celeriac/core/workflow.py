"""What a workflow is: the canvas that somebody sent, as nodes and what each waits for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

OnFailure = Literal["block", "fail", "continue"]
#: Made once: with other separators than its own, `json.dumps` makes an encoder for each call.
_dumps = json.JSONEncoder(separators=(",", ":")).encode
POLICIES: tuple[OnFailure, ...] = ("block", "fail", "continue")


#: When something began and when it ended, in seconds since the epoch.
Times = tuple[float | None, float | None]


class Membership(NamedTuple):
    """What every message of a workflow says in its header: whose it is, and what becomes of that when it gives up.

    ``folded``: the group of which it is one of many members that are one node, and counted; or a step of such a member,
    or of what takes its place. ``group``: what the ends of those members name as their group, where that is another: as a
    group that ends a chain in a header hands the id of that to its members.
    """

    workflow: str
    on_failure: OnFailure = "block"
    folded: str | None = None
    group: str | None = None

    def header(self) -> list[Any]:
        """As it travels."""
        return [*self[:3]] if self.group is None else [*self]

    @classmethod
    def from_header(cls, header: Any) -> Membership | None:
        """Read back; None where there is none."""
        if not isinstance(header, (list, tuple)) or len(header) not in (len(cls._fields) - 1, len(cls._fields)):
            return None
        workflow, *others = header
        return cls(str(workflow), *others)

    def ends_one_of_many(self, group_id: Any) -> bool:
        """Whether a task of this group is the end of one of many."""
        return self.folded is not None and group_id == (self.group or self.folded)


@dataclass(slots=True)
class Node:
    """A task of a workflow, or many members of a group.

    Args:
        id: the task's, or the group's.
        task: its name; of many, those that they have, joined, and of chains those of their steps.
        after: places of the nodes that it waits for.
        size: how many members: a task each, or a chain of tasks.
        joins: it waits for all of several, as the body of a chord.
        arguments: what its sender gives it, shortened, such as ``(3, day='monday')``; nothing of many.
    """

    id: str
    task: str
    after: list[int] = field(default_factory=list)
    size: int = 1
    joins: bool = False
    arguments: str = ""

    def row(self) -> list[Any]:
        """As it is kept."""
        found = [self.id, self.task, self.after, self.size, int(self.joins)]
        return [*found, self.arguments] if self.arguments else found

    @classmethod
    def from_row(cls, id_: str, task: str, after: list[int], size: int, joins: int, arguments: str = "") -> Node:
        """Read back."""
        return cls(id_, task, after, size, bool(joins), arguments)


@dataclass(slots=True)
class Workflow:
    """A workflow as it is recorded in the transaction that sends it. Times are seconds since the epoch.

    ``parent`` is the task whose body sent it.
    """

    id: str
    name: str
    nodes: list[Node]
    on_failure: OnFailure = "block"
    parent: str | None = None
    sent_at: float = 0.0
    cancelled_at: float | None = None
    cancelled_by: str | None = None
    #: What was last noted of it, and of its nodes: `snapshot`.
    state: str = "running"
    outcome: str | None = None
    #: When messages of it were last seen in an outbox, where they had waited.
    kept_at: float | None = None

    def shape(self) -> str:
        """The nodes as they are kept."""
        return _dumps([node.row() for node in self.nodes])

    @staticmethod
    def nodes_of(shape: str) -> list[Node]:
        """The nodes, read back."""
        return [Node.from_row(*row) for row in json.loads(shape)]

    @property
    def single(self) -> list[str]:
        """The ids of the nodes that are one task."""
        return [node.id for node in self.nodes if node.size == 1]

    @property
    def folded(self) -> list[str]:
        """The ids of the groups whose members are one node."""
        return [node.id for node in self.nodes if node.size > 1]

    @property
    def size(self) -> int:
        """How many tasks there are; each of many chains that are one node counts as one."""
        return sum(node.size for node in self.nodes)


class Counted(NamedTuple):
    """How many members of a group have ended: well, not, and without having run; and dead letters that could put it right.

    One that was redriven has not ended until it has again.
    """

    succeeded: int
    failed: int
    cancelled: int = 0
    letters: int = 0

    @classmethod
    def of(cls, succeeded: int, failed: int, cancelled: int, letters: int, again: int) -> Counted:
        """From what was noted of the members; ``again`` of them were redriven, and are still noted as they ended before."""
        return cls(succeeded, failed - max(0, min(again, failed - letters)), cancelled, letters)

    @property
    def ended(self) -> int:
        """All that have."""
        return self.succeeded + self.failed + self.cancelled


NONE_ENDED = Counted(0, 0)
