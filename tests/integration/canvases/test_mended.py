"""Canvases that come to something else, or to nothing, where Celery is left to itself: the smallest of each kind."""

from __future__ import annotations

import pytest

from tests.integration.canvases.places import Place
from tests.integration.canvases.plan import Canvas, Chain, Chord, Group, Step, labelled


def _fails() -> Step:
    return Step("fail")


def _two() -> Group:
    return Group([Step(), Step()])


def _grown(canvas: Chord) -> Chord:
    assert isinstance(canvas.body, Step)
    canvas.body.in_any_order = True
    return canvas


@pytest.mark.parametrize(
    "canvas",
    [
        pytest.param(Step("replace", by=Chord([Step()], _two())), id="replaced by a chord that ends in a group"),
        pytest.param(
            Step("replace", by=Chain([Step(), Chord([Step(), Step()], _two())])),
            id="replaced by a chain that ends in such a chord",
        ),
        pytest.param(Chord([Step(), _two()], Step()), id="the members of a group in a header keep their order"),
        pytest.param(Chord([Step()], Group([Step(), _two()])), id="the members of a group in a body keep their order"),
        pytest.param(
            Chain([Chord([Step()], _two()), Chord([Step()], Step())]), id="a chord follows one that ends in a group"
        ),
        pytest.param(
            Group([Step(), Chain([Chain([Chord([Step()], _two()), Chain([Step(), Step()])], piped=True)])]),
            id="something follows one that ends in a group, in a chain of one chain",
        ),
        pytest.param(
            _grown(Chord([Chain([Step(), _two()]), Step("grow", by=Step())], Step())), id="a nested header grows"
        ),
        pytest.param(
            Chord([Step("replace", by=Chord([Step()], Chain([Step(), Step()])))], Step()),
            id="in the place of a member, a chord whose body is a chain",
        ),
        pytest.param(
            Chord([Step("replace", by=Chord([Step()], Chord([Step()], Chain([Step(), Step()]))))], Step()),
            id="the same within the body of a chord",
        ),
        pytest.param(
            Chord([Step("replace", by=Chain([_two(), Step(), Step()]))], Step()),
            id="in the place of a member, a chain that begins with a group",
        ),
        pytest.param(
            Chord([Chain([Step(), Group([Step(), Chord([Step()], Step())])])], Step()),
            id="a chord in a group that ends a member",
        ),
        pytest.param(
            Chord([Chord([Step()], Group([Chord([Step()], Step()), Step()]))], Step()),
            id="a chord in a group that ends a chord",
        ),
        pytest.param(Chord([], Step()), id="a chord of none"),
        pytest.param(Group([Step(), Chord([], Step())]), id="a chord of none in a group"),
    ],
)
def test_it_comes_to_what_plain_python_does(place: Place, canvas: Canvas) -> None:
    with place.sent(labelled(canvas, "a")) as sent:
        place.driver.run()
        sent.check()


@pytest.mark.parametrize(
    "canvas",
    [
        pytest.param(Chord([_fails(), Step()], Step(errbacks=2)), id="a task is the body"),
        pytest.param(Chord([_fails(), Step()], Chain([Step(errbacks=1), Step()])), id="a chain is the body"),
        pytest.param(Chord([_fails(), Step()], Group([Step(errbacks=1), Step()])), id="a group is the body"),
        pytest.param(Chord([_fails(), Step()], Chord([Step()], Step())), id="a chord is the body"),
        pytest.param(Chord([_fails(), Step()], Chord([Step()], _two())), id="a chord that ends in a group is the body"),
        pytest.param(Chord([Chord([_fails()], Step()), Step()], Step()), id="a chord waits for a chord"),
        pytest.param(
            Chord([Step("replace", by=Chord([_fails()], Chain([Step(), Step()]))), Step()], Step()),
            id="a chord waits for a chord with a chain for its body, in a member's place",
        ),
        pytest.param(
            Chord([Chain([_fails(), Step(), _two()]), Step()], Step()), id="a chord waits for a chain's group"
        ),
        pytest.param(Chain([_fails(), Chord([Step()], _two())]), id="a chord that ends in a group ends the chain"),
    ],
)
def test_what_follows_a_failure_fails_and_runs_once_that_is_redriven(place: Place, canvas: Canvas) -> None:
    with place.sent(labelled(canvas, "a")) as sent:
        place.driver.run()
        sent.check()
        sent.redrive()
        place.driver.run()
        sent.check(redriven=True)
