"""What each node is called: ``shop.load[3](2026)``, so that members of one task are told apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from celeriac.core.workflow import Node
from celeriac.workflow.layout import columns

#: Of names that stand after one another, what comes before the last point of each.
_MODULES = re.compile(r"(?:[^\s.]+\.)+(?=[^\s.])")


@dataclass(frozen=True)
class Label:
    """A node's task or tasks; its place, from 0, among those of its column that have the same task; its arguments; its size."""

    task: str
    index: int | None = None
    arguments: str = ""
    size: int = 1

    def __str__(self) -> str:
        return f"{self._name}{self.arguments}"

    @property
    def _name(self) -> str:
        return f"{self._count}{self.task}" if self.index is None else f"{self.task}[{self.index}]"

    @property
    def _count(self) -> str:
        return f"{self.size:,} × " if self.size > 1 else ""

    def fitting(self, fits: Callable[[str], bool]) -> str:
        """As much of it as fits: without the module at first, then with fewer arguments, and only the name's end at last.

        Of many the number comes first, and the tasks lose their modules and then the end.
        """
        if self.size > 1:
            own = _MODULES.sub("…", self.task)
            ends = [f"{own[:cut].rstrip('…')}…" for cut in range(len(own) - 1, -1, -1)]
            return next(filter(fits, [str(self), *(f"{self._count}{one}" for one in [own, *ends])]), "…")
        name, arguments = self._name, self.arguments
        module = len(self.task.rpartition(".")[0])
        shorter = [f"…{name[cut:]}{arguments}" for cut in (*range(1, module), module + 1)] if module else []
        own = f"…{name[module + 1 :]}" if module else name
        fewer = [f"{own}{arguments[:cut]}…)" for cut in range(len(arguments) - 2, 0, -1)]
        ends = [f"…{name[cut:]}" for cut in range(module + 2, len(name))]
        return next(filter(fits, [str(self), *shorter, *fewer, own, *ends]), "…")


def labels(nodes: Sequence[Node]) -> list[Label]:
    """One for each node."""
    found = [Label(node.task, None, node.arguments, node.size) for node in nodes]
    followers = Counter(place for node in nodes for place in node.after)
    for column in columns(nodes):
        alike: dict[str, list[int]] = {}
        for place in column:
            if nodes[place].size == 1:
                alike.setdefault(nodes[place].task, []).append(place)
        for places in alike.values():
            for place, index in zip(places, _indexes(nodes, places, found, followers), strict=False):
                found[place] = replace(found[place], index=index)
    return found


def _indexes(
    nodes: Sequence[Node], places: Sequence[int], found: Sequence[Label], followers: Mapping[int, int]
) -> Sequence[int | None]:
    """The steps of chains that stand side by side have the places of their first ones, where that tells them apart."""
    if len(places) == 1:
        return ()
    steps = [nodes[place].after for place in places]
    before = [found[after[0]].index if len(after) == 1 and followers[after[0]] == 1 else None for after in steps]
    return before if None not in before and len(set(before)) == len(before) else range(len(places))
