"""Random canvases."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.integration.canvases.evaluating import flattened
from tests.integration.canvases.plan import Canvas, Chain, Chord, Group, Mapped, Step, everything, labelled

DEPTH = 5
#: Nodes of one canvas.
MOST = 40


def _steps(hows: list[str]) -> st.SearchStrategy[Canvas]:
    return st.builds(
        Step,
        how=st.sampled_from(hows),
        immutable=st.sampled_from([False, False, False, True]),
        links=st.lists(st.builds(Step, immutable=st.booleans()), max_size=2),
        errbacks=st.integers(0, 2),
    )


mapped = st.builds(Mapped, kind=st.sampled_from(["map", "starmap"]), items=st.integers(1, 4))
chunked = st.builds(Group.of_chunks, st.integers(1, 5), st.integers(1, 3))


def _chain(parts: list[Canvas], piped: bool) -> Canvas:
    """A chain that means the same however it is written.

    Celery makes its member of a group of one in some ways of writing a chain, and not in others. An empty group gives
    the next step an empty list, or nothing, or what came before it.
    """
    parts = [part for part in map(_unrolled, parts) if not _is_empty(part)]
    if len(parts) == 1 and isinstance(parts[0], Group):
        return parts[0]  # a chain of it alone gives it no input
    return Chain(parts, piped) if parts else Group([])


def _is_empty(part: Canvas) -> bool:
    return isinstance(part, Group) and not flattened([part])


def _chord(header: list[Canvas], body: Canvas, grows: bool) -> Canvas:
    """Celery counts what a chord's body will be as none where that is an empty group; with nothing to do there is none.

    A chord of none it counts as none too, and another one that has it as a member, or in a member's place, waits for ever.
    """
    header = header if flattened(header) else [Step()]
    if not isinstance(body, Step):
        return Chord(header, Step() if _is_empty(body) else body)
    if grows and header and body.how == "plain":
        header = [*header, Step(how="grow", by=Step())]
        body.in_any_order = True  # who came later has its place by chance
    return Chord(header, body)


def _unrolled(part: Canvas) -> Canvas:
    while isinstance(part, Group) and len(part.members) == 1:
        (part,) = part.members
    return part


def _wider(inner: st.SearchStrategy[Canvas]) -> st.SearchStrategy[Canvas]:
    return st.one_of(
        st.builds(_chain, st.lists(inner, min_size=1, max_size=4), st.booleans()),
        st.builds(Group, st.lists(inner, max_size=3)),
        st.builds(_chord, st.lists(inner, max_size=3), inner, st.booleans()),
        st.builds(Step, how=st.just("replace"), by=inner),
    )


def _nested(levels: int, *, failing: bool) -> st.SearchStrategy[Canvas]:
    steps = _steps(["plain", "plain", "plain", "retry", *(["fail"] if failing else [])])
    inner: st.SearchStrategy[Canvas] = st.one_of(steps, mapped, chunked)
    for _ in range(levels - 1):
        inner = st.one_of(steps, _wider(inner))
    return inner


def canvases(label: str = "a", levels: int = DEPTH, *, failing: bool = False) -> st.SearchStrategy[Canvas]:
    """Canvases that are nested up to so many levels deep."""
    drawn = _nested(levels, failing=failing).filter(lambda canvas: len(everything(canvas)) <= MOST)
    return drawn.map(lambda canvas: labelled(canvas, label))
