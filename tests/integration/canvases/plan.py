"""A canvas as plain data: what Celery is asked to do, and what comes of it when plain Python does the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: No input: the first step of a canvas gets none, and neither does an immutable one.
NOTHING: Any = object()


class Failed:
    """The value of what has failed, or waits for what has."""

    def __repr__(self) -> str:
        return "FAILED"


FAILED = Failed()


@dataclass
class Step:
    """One task. `how` says what its body does: `plain`, `retry`, `fail`, `replace` (by `by`) or `grow` (its chord, by `by`)."""

    how: str = "plain"
    immutable: bool = False
    links: list[Step] = field(default_factory=list)
    errbacks: int = 0
    by: Canvas | None = None
    node: str = ""

    def __post_init__(self) -> None:
        self.in_any_order = False


@dataclass
class Chain:
    """`chain(*steps)`, or the steps joined by `|`."""

    steps: list[Canvas]
    piped: bool = False


@dataclass
class Group:
    """`group(*members)`; the group of starmaps that `chunks` makes, where it says so."""

    members: list[Canvas]
    chunked: bool = False

    @classmethod
    def of_chunks(cls, items: int, size: int) -> Group:
        sizes = [min(size, items - start) for start in range(0, items, size)]
        return cls([Mapped("starmap", one) for one in sizes], chunked=True)


@dataclass
class Chord:
    header: list[Canvas]
    body: Canvas


@dataclass
class Mapped:
    """`map` or `starmap` over so many items."""

    kind: str
    items: int
    node: str = ""


Canvas: TypeAlias = Step | Chain | Group | Chord | Mapped


def labelled(canvas: Canvas, label: str) -> Canvas:
    """The same canvas, each of its nodes named after its place."""
    if isinstance(canvas, (Step, Mapped)):
        canvas.node = label
    for number, part in enumerate(parts(canvas)):
        labelled(part, f"{label}.{number}")
    return canvas


def parts(canvas: Canvas) -> Sequence[Canvas]:
    """What a canvas is made of."""
    if isinstance(canvas, Step):
        return [*canvas.links, *([canvas.by] if canvas.by is not None else [])]
    if isinstance(canvas, Chain):
        return canvas.steps
    if isinstance(canvas, Group):
        return canvas.members
    if isinstance(canvas, Chord):
        return [*canvas.header, canvas.body]
    return []


def everything(canvas: Canvas) -> list[Canvas]:
    """The canvas and all in it."""
    return [canvas, *(found for part in parts(canvas) for found in everything(part))]


def value_of(node: str, inputs: Sequence[Any], *, in_any_order: bool = False) -> str:
    """What the task at `node` returns: another value for other inputs."""
    written = [json.dumps(one) for one in inputs]
    if in_any_order:
        written = [json.dumps(sorted(one, key=json.dumps) if isinstance(one, list) else one) for one in inputs]
    return f"{node}={hashlib.sha256(repr(written).encode()).hexdigest()[:8]}"
