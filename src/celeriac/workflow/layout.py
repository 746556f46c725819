"""Where each node stands: in the column after all that it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.workflow import Node


def columns(nodes: Sequence[Node]) -> list[list[int]]:
    """Places of nodes by how many steps are before them; the nodes are in an order in which they can run."""
    depth: list[int] = []
    for node in nodes:
        depth.append(1 + max((depth[place] for place in node.after), default=-1))
    found: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for place, column in enumerate(depth):
        found[column].append(place)
    return found


def is_plain(nodes: Sequence[Node], before: Sequence[int], column: Sequence[int]) -> bool:
    """Whether every node of a column waits for the whole column before it, so that nothing needs to be said."""
    return all(sorted(nodes[place].after) == sorted(before) for place in column)
