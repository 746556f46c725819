"""The rest of a long chain: kept once in the store, and named in messages by a step that stands for it.

Celery puts all the steps that are to come into the message of each, the last one first. Of a long chain they are
written with the message that sends its first step, and in their place stands one step, of the task ``REST``, which says
which chain's rest it is, and how far from the end: each step's message has room for one more, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

#: The task that goes on with a chain whose rest is kept, for a worker that does not know of such.
REST = "celeriac.rest"
#: Steps that travel in the message as Celery has them: reading one from a store costs as much as carrying so many.
SHORT = 20
#: Options of a chain's last step that Celery looks for in the message: what stands for the rest bears them instead.
_OF_THE_LAST = ("chord", "group_id", "group_index")

Step = Mapping[str, Any]


class Kept(NamedTuple):
    """What a store keeps of one chain: its steps as they were serialised, the last one first.

    ``format`` is the business of who writes and reads the steps.
    """

    id: str
    format: str
    steps: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Chains:
    """What a message brings along for the store.

    ``needs`` are pairs of a chain that must be kept and of who needs it: a task or a chord, by its id.
    """

    kept: tuple[Kept, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()


class Shortened(NamedTuple):
    """A chain for a message, and the steps that are kept instead (None where all travel)."""

    chain: list[Step]
    kept: list[Step] | None = None


def stands_for_rest(step: Any) -> bool:
    """Whether a step stands for the rest of a chain."""
    return isinstance(step, Mapping) and step.get("task") == REST


def reference(step: Step) -> tuple[str, int]:
    """Which chain's rest a step stands for, and how many steps come after the next one.

    Raises:
        ValueError: it says neither.
    """
    try:
        chain_id, at = step["args"][-2:]
        return str(chain_id), int(at)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{step.get('args')!r:.80} names no chain and no place in one") from error


def shorten(chain: Sequence[Step], chain_id: str) -> Shortened:
    """The chain of a message, the last step first, without what is to be kept as ``chain_id``."""
    # What is kept already may stand at the end, where a step of a long chain was replaced by another long one.
    before = next((number for number, step in enumerate(chain) if not stands_for_rest(step)), len(chain))
    steps = list(chain[before:])
    if len(steps) <= SHORT or any(map(stands_for_rest, steps)):
        return Shortened(list(chain))
    options = dict(steps[0].get("options") or {})
    its_own = {name: options.pop(name) for name in _OF_THE_LAST if name in options}
    steps[0] = {**steps[0], "options": options}
    if last_id := _id_of(steps[0]):
        its_own["task_id"] = last_id
    return Shortened([*chain[:before], standing_for(chain_id, len(steps) - 1, its_own)], steps)


def standing_for(chain_id: str, at: int, options: Mapping[str, Any]) -> Step:
    """The step that stands for the one ``at`` steps before the end of a chain, and for those after it."""
    # No more than any Celery needs to send it: it is in every message of the chain but the last.
    return {"task": REST, "args": [chain_id, at], "kwargs": {}, "options": dict(options)}


def _id_of(step: Step) -> str | None:
    """Whose end is the step's: of a chord its body's, and of a chain the last one's."""
    kwargs = step.get("kwargs") or {}
    if step.get("subtask_type") == "chord" and isinstance(kwargs.get("body"), Mapping):
        return _id_of(kwargs["body"])
    found = (step.get("options") or {}).get("task_id")
    if found is None and step.get("subtask_type") == "chain" and kwargs.get("tasks"):
        return _id_of(kwargs["tasks"][-1])
    return None if found is None else str(found)


def with_next(chain: Sequence[Step], read: Callable[[str, int], Step]) -> list[Step]:
    """The chain with its next step, where that is kept; ``read`` gives one by its chain and its place from the end.

    Raises:
        ValueError: what stands for the rest says not where it is.
    """
    standing = chain[-1]
    chain_id, at = reference(standing)
    step = _inheriting(standing, read(chain_id, at), last=at == 0)
    behind = [] if at == 0 else [{**standing, "args": [chain_id, at - 1]}]
    return [*chain[:-1], *behind, step]


def with_all(chain: Sequence[Step], read: Callable[[str, int], Sequence[Step]]) -> list[Step]:
    """The chain with all its steps; ``read`` gives those of a chain up to a place, the last one first.

    Raises:
        ValueError: what stands for a rest says not where it is.
    """
    found: list[Step] = []
    for step in chain:
        if not stands_for_rest(step):
            found.append(step)
            continue
        for place, kept in enumerate(read(*reference(step))):
            found.append(_inheriting(step, kept, last=place == 0))
    return found


def _inheriting(standing: Step, step: Step, *, last: bool) -> Step:
    """A step as it would be had it been given what Celery has given to what stood for it."""
    given = dict(standing.get("options") or {})
    options = dict(step.get("options") or {})
    of_the_last = {name: given.pop(name) for name in (*_OF_THE_LAST, "link", "task_id") if name in given}
    for name in ("link_error", "stamped_headers"):
        _extend(options, name, given.pop(name, None))
    for name, value in given.items():
        if name == "replaced_task_nesting" or options.get(name) is None:
            options[name] = value
    if last:
        _extend(options, "link", of_the_last.pop("link", None))
        of_the_last.pop("task_id", None)  # its own
        options.update(of_the_last)
    return {**step, "options": options}


def _extend(options: dict[str, Any], name: str, more: Any) -> None:
    """Options that are lists, or one of their members."""
    if more:
        known = _listed(options.get(name))
        options[name] = [*known, *(one for one in _listed(more) if one not in known)]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def needs(options: Mapping[str, Any], task_id: str) -> Iterator[tuple[str, str]]:
    """Which chains a message needs kept, by its options of ``send_task``, and for whom."""
    for step in options.get("chain") or ():
        if stands_for_rest(step):
            yield reference(step)[0], task_id
        yield from _needs_of_chord(step.get("options") or {})
    yield from _needs_of_chord(options)


def _needs_of_chord(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of the body that waits for a group, for as long as the chord is there."""
    body, group_id = options.get("chord"), options.get("group_id")
    if isinstance(body, Mapping) and group_id:
        for chain_id in _within(body):
            yield chain_id, str(group_id)


def _within(signature: Mapping[str, Any]) -> Iterator[str]:
    options, kwargs = signature.get("options") or {}, signature.get("kwargs") or {}
    if stands_for_rest(signature):
        yield reference(signature)[0]
    kind = signature.get("subtask_type")
    inner = [*(options.get("chain") or ()), options.get("chord")]
    if kind == "chain":
        inner += kwargs.get("tasks") or ()
    elif kind == "chord":
        inner.append(kwargs.get("body"))
    for one in inner:
        if isinstance(one, Mapping):
            yield from _within(one)


def shorten_body(body: Mapping[str, Any], chain_id: str) -> tuple[Mapping[str, Any], list[Step] | None]:
    """A chord's body for its members' messages, and what is to be kept of the chain that it begins."""
    options, kwargs = body.get("options") or {}, body.get("kwargs") or {}
    chain, kept = shorten(options.get("chain") or (), chain_id)
    if kept is not None:
        return {**body, "options": {**options, "chain": chain}}, kept
    if body.get("subtask_type") != "chain" or len(kwargs.get("tasks") or ()) <= SHORT:
        return body, None
    first, *others = kwargs["tasks"]
    chain, kept = shorten(others[::-1], chain_id)
    return {**body, "kwargs": {**kwargs, "tasks": [first, *chain[::-1]]}}, kept
