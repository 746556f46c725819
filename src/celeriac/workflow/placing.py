"""Where a picture has the nodes of a graph and the edges between them, so that no edge runs behind a box.

After Sugiyama, Tagawa and Toda (1981): nodes stand in columns; an edge that passes a column has a lane of its own in it, one
for all that lead to the same node; a column's nodes and lanes are put into an order in which few edges cross, and then as near
to what they are joined with as their order and their sizes let them.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from celeriac.core.workflow import Node
from celeriac.workflow.layout import columns

#: How often columns are put in order, there and back.
_SWEEPS = 8
#: How much more a lane is drawn to its neighbours than a node, so that long edges are straight.
_STRAIGHT = 8.0


class Placed(NamedTuple):
    """A graph of boxes and lanes, the boxes first, in the order of the nodes.

    ``columns`` are the column of each, ``centres`` where its middle is, from 0 down, and ``routes`` for each edge those that
    it goes by, from the node where it begins to the one where it ends.
    """

    columns: list[int]
    centres: list[float]
    routes: list[list[int]]
    height: float


def placed(nodes: Sequence[Node], high: float, gap: float) -> Placed:
    """Place boxes of this height, with this much at least between each and what is above and below it."""
    graph = _Graph(nodes)
    order = _ordered(graph)
    centres = _centred(graph, order, high, gap)
    top = min((centres[item] for item in range(len(nodes))), default=0.0) - high / 2
    top = min([top, *centres])
    centres = [centre - top for centre in centres]
    height = max([0.0, *centres, *(centres[item] + high / 2 for item in range(len(nodes)))])
    return Placed(graph.columns, centres, graph.routes, height)


class _Graph:
    """Nodes and lanes as numbers, and which of one column are joined with which of the next."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.boxes = len(nodes)
        self.layers = columns(nodes)
        self.columns = [0] * len(nodes)
        for column, places in enumerate(self.layers):
            for place in places:
                self.columns[place] = column
        self._lanes: dict[tuple[int, int], int] = {}
        self.routes = [self._route(before, place) for place, node in enumerate(nodes) for before in node.after]
        self.before: list[list[int]] = [[] for _ in self.columns]
        self.after: list[list[int]] = [[] for _ in self.columns]
        for one, other in sorted({pair for route in self.routes for pair in pairwise(route)}):
            self.before[other].append(one)
            self.after[one].append(other)

    def _route(self, start: int, end: int) -> list[int]:
        between = range(self.columns[start] + 1, self.columns[end])
        return [start, *(self._lane(end, column) for column in between), end]

    def _lane(self, end: int, column: int) -> int:
        known = self._lanes.get((end, column))
        if known is None:
            known = self._lanes[end, column] = len(self.columns)
            self.columns.append(column)
            self.layers[column].append(known)
        return known


def _ordered(graph: _Graph) -> list[list[int]]:
    """The columns, each in the order in which the fewest edges cross that was found."""
    best, order = [list(layer) for layer in graph.layers], graph.layers
    fewest = _crossings(graph, best)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        _sweep(graph, order, back=bool(sweep % 2))
        if (count := _crossings(graph, order)) < fewest:
            fewest, best = count, [list(layer) for layer in order]
    return best


def _sweep(graph: _Graph, order: list[list[int]], *, back: bool) -> None:
    """Put each where those are in the column before it, or after it, with which it is joined."""
    joined = graph.after if back else graph.before
    at = {item: (place + 0.5) / len(layer) for layer in order for place, item in enumerate(layer)}
    for layer in reversed(order) if back else order:
        layer.sort(key=lambda item: _mean([at[other] for other in joined[item]], at[item]))
        for place, item in enumerate(layer):
            at[item] = (place + 0.5) / len(layer)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(graph: _Graph, order: Sequence[Sequence[int]]) -> int:
    """How many edges cross between columns."""
    count = 0
    for layer, following in pairwise(order):
        at = {item: place for place, item in enumerate(following)}
        ends: list[int] = []
        for item in layer:
            reached = sorted(at[other] for other in graph.after[item])
            count += sum(len(ends) - bisect_right(ends, end) for end in reached)
            for end in reached:
                insort(ends, end)
    return count


def _centred(graph: _Graph, order: Sequence[Sequence[int]], high: float, gap: float) -> list[float]:
    """The middle of each: as near to the middle of what it is joined with as there is room, from both sides in turn."""
    half = [high / 2 if item < graph.boxes else 0.0 for item in range(len(graph.columns))]
    centres = [0.0] * len(half)
    for joined, layers in ((None, order), (graph.before, order), (graph.after, order[::-1]), (graph.before, order)):
        for layer in layers:
            wanted = [
                _mean([centres[other] for other in joined[item]], centres[item]) if joined else 0.0 for item in layer
            ]
            apart = [half[one] + gap + half[other] for one, other in pairwise(layer)]
            weights = [1.0 if item < graph.boxes else _STRAIGHT for item in layer]
            for item, centre in zip(layer, _spread(wanted, apart, weights), strict=True):
                centres[item] = centre
    return centres


def _spread(wanted: Sequence[float], apart: Sequence[float], weights: Sequence[float]) -> Iterable[float]:
    """In this order and so far apart, as near to where they are wanted as can be: by the least sum of squares."""
    below, runs = 0.0, list[tuple[float, float, int]]()
    offsets: list[float] = []
    for place, (want, weight) in enumerate(zip(wanted, weights, strict=True)):
        below += apart[place - 1] if place else 0.0
        offsets.append(below)
        mean, total, count = want - below, weight, 1
        # Those that would come too near to one another move together.
        while runs and runs[-1][0] >= mean:
            other, more, many = runs.pop()
            mean, total, count = (mean * total + other * more) / (total + more), total + more, count + many
        runs.append((mean, total, count))
    means = [mean for mean, _, count in runs for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
