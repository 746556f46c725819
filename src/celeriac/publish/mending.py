"""Canvases that Celery gets wrong: each comes to what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from functools import wraps
from typing import Any

from celery import canvas

from celeriac.publish import header_ids

#: Has the members of a group in a group come out in the other order than they are written in.
_backwards = canvas.group._freeze_unroll  # noqa: SLF001
_freeze_chain, _run_chain = canvas._chain.freeze, canvas._chain.run  # noqa: SLF001
_freeze_chord, _run_chord = canvas._chord.freeze, canvas._chord.run  # noqa: SLF001


@wraps(_backwards)
def _in_order(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    if hasattr(self.app, "batch_of_group"):
        members = list(header_ids.members_of(self.tasks))
        if isinstance(self.tasks, MutableSequence):  # whoever froze the group may hold the list
            self.tasks[:] = members
        else:
            self.tasks = members
    return _backwards(self, *args, **kwargs)  # type: ignore[no-any-return]  # Celery has no types


def ends_in_a_group(signature: Any) -> bool:
    """Whether what comes of it is a group's results, which nothing has joined."""
    if isinstance(signature, canvas.chord):
        return ends_in_a_group(signature.body)
    if isinstance(signature, canvas._chain):  # noqa: SLF001  # of which `chain` is only the constructor
        return bool(signature.tasks) and ends_in_a_group(signature.tasks[-1])
    return isinstance(signature, canvas.group)


@wraps(_freeze_chain)
def _freeze_joined(self: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_unjoined(self):
        self.tasks = _joined(self.tasks)
    return _freeze_chain(self, *args, **_as_member(self, kwargs))


@wraps(_freeze_chord)
def _freeze_member(self: Any, *args: Any, **kwargs: Any) -> Any:
    if hasattr(self.app, "batch_of_group"):
        header_ids.name(self)
    return _freeze_chord(self, *args, **_as_member(self, kwargs))


def _as_member(signature: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a chain or chord is frozen with: as the body of a chord, the group whose member that is, as a task keeps it.

    Celery freezes such a body with the group of its own header. Where the chord has taken a member's place, its end would
    join nothing, and whoever waits for that member would wait for ever.
    """
    own = signature.options
    if "chord" in given or "group_id" not in own or not hasattr(signature.app, "batch_of_group"):
        return given
    return {**given, **{name: own.get(name) for name in ("group_id", "chord", "group_index")}}


@wraps(_run_chain)
def _run_joined(self: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_unjoined(self):
        self = self.clone()
        self.tasks = _joined(self.tasks)
    return _run_chain(self, *args, **kwargs)


@wraps(_run_chord)
def _run_member(self: Any, header: Any, body: Any, *args: Any, **options: Any) -> Any:
    # A group that ends a chain in a header hands its own id to its members. They join the chord that they were frozen for:
    # a task keeps that by itself, and the body of a chord is to keep it too.
    if hasattr(body.app, "batch_of_group"):
        header_ids.name_again(header)
    joins = body.options.get("group_id")
    if joins and "group_id" in options and hasattr(body.app, "batch_of_group"):
        options["group_id"] = joins
    return _run_chord(self, header, body, *args, **options)


def _is_unjoined(chain: Any) -> bool:
    """Whether a chord that ends in a group is followed by more, which Celery would send once for each of its members."""
    ends = [isinstance(step, canvas.chord) and ends_in_a_group(step) for step in list(_steps(chain.tasks))[:-1]]
    return any(ends) and hasattr(chain.app, "batch_of_group")


def _steps(tasks: Iterable[Any]) -> Iterator[Any]:
    """Those of the chains in a chain are its own."""
    for task in tasks:
        step = canvas.maybe_signature(task)
        if isinstance(step, canvas._chain):  # noqa: SLF001
            yield from _steps(step.tasks)
        else:
            yield step


def _joined(steps: Iterable[Any]) -> list[Any]:
    """The steps of a chain, what follows such a chord within its body, as Celery has it where a task follows."""
    joined: list[Any] = []
    for step in _steps(steps):
        before = joined[-1] if joined else None
        if isinstance(before, canvas.chord) and ends_in_a_group(before):
            joined[-1] = before.clone()
            joined[-1].body = joined[-1].body | step
        else:
            joined.append(step)
    return joined


def mend_canvases() -> None:
    """Put it all in Celery's place; other apps' canvases go on as they did."""
    canvas._chain.freeze = _freeze_joined  # noqa: SLF001
    canvas._chain.run = _run_joined  # noqa: SLF001
    canvas._chord.freeze = _freeze_member  # noqa: SLF001
    canvas._chord.run = _run_member  # noqa: SLF001
    canvas.group._freeze_unroll = _in_order  # noqa: SLF001
