"""Stamps are what they are in Celery alone: each canvas runs on both, and every task says what it bears."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest
from celery import chain, chord, group, signature
from celery.canvas import StampingVisitor

from celeriac import Celery
from celeriac.core.chains import SHORT
from celeriac.core.workflow_nodes import FOLDED_ABOVE
from tests.integration.canvases.driving import Driver

LONG = SHORT + 5
MANY = FOLDED_ABOVE + 2
#: Makes a canvas of an app's tasks: of a task's name, and its own.
Make = Callable[[Callable[..., Any]], Any]


class Each(StampingVisitor):  # type: ignore[misc]  # Celery has no types
    """A stamp of its own for whatever is visited."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"called": sig.kwargs.get("name", sig.task)}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        return {"in_group": True}

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        return {"in_chain": True}

    def on_chord_header_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"in_header": True}

    def on_chord_body(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"in_body": True}

    def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
        return {"called_back": True}

    def on_errback(self, errback: Any, **headers: Any) -> dict[str, Any]:
        return {"called_on_error": True}


class Hidden(StampingVisitor):  # type: ignore[misc]  # Celery has no types
    """What it says besides its stamps is none."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"tenant": {"id": 7}, "tags": ["a", "b"], "hidden": 1, "stamped_headers": ["tenant", "tags"]}


def _declare(app: Any, seen: list[str]) -> None:
    def note(task: Any, name: str) -> None:
        stamps = {key: task.request.stamps[key] for key in task.request.stamped_headers or ()}
        seen.append(json.dumps([name, stamps], sort_keys=True))

    @app.task(bind=True, shared=False, name="step")
    def step(self: Any, *given: Any, name: str) -> str:
        note(self, name)
        return name

    @app.task(bind=True, shared=False, name="told")
    def told(self: Any, task_id: str, name: str) -> None:
        note(self, name)

    @app.task(bind=True, shared=False, name="fails")
    def fails(self: Any, *given: Any, name: str) -> None:
        note(self, name)
        raise ValueError(name)

    @app.task(bind=True, shared=False, name="again")
    def again(self: Any, *given: Any, name: str) -> str:
        note(self, name)
        if not self.request.retries:
            raise self.retry(countdown=0)
        return name

    @app.task(bind=True, shared=False, name="replaced")
    def replaced(self: Any, *given: Any, name: str, by: dict[str, Any]) -> Any:
        note(self, name)
        return self.replace(signature(by, app=app))

    @app.task(bind=True, shared=False, name="sends")
    def sends(self: Any, *given: Any, name: str) -> str:
        note(self, name)
        step.si(name=f"{name} alone").delay()
        return name

    app.finalize()


class Stock(Driver):
    """Celery's own tracer, on its memory broker."""

    def run(self, order: int = 0, most: int = 2000) -> None:
        while held := self._hold():
            for message in held:
                self._execute(message)


def _made_of(app: Any) -> Callable[..., Any]:
    def task(name: str, kind: str = "step", **given: Any) -> Any:
        return app.tasks[kind].s(name=name, **given)

    return task


def _ran(app: Any, driver: Driver, make: Make, seen: list[str]) -> list[str]:
    seen.clear()
    app.set_current()  # what is read from a message is of this one
    canvas = make(_made_of(app))
    canvas.delay()
    driver.run()
    return sorted(seen)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Make], list[str]]]:
    seen: list[str] = []
    app = Celery("stamps", broker=f"sqlite:///{tmp_path_factory.mktemp('stamps')}/a.db", set_as_current=False)
    _declare(app, seen)
    driver = Driver(app)
    yield lambda make: _ran(app, driver, make, seen)
    driver.close()
    app.close()
    app.store.close()


@pytest.fixture(scope="module")
def celerys() -> Iterator[Callable[[Make], list[str]]]:
    seen: list[str] = []
    app = celery.Celery("stock", broker="memory://", backend="cache+memory://", set_as_current=False)
    _declare(app, seen)
    # It sleeps for half a second when it has found all.
    get_many = app.backend.get_many
    app.backend.get_many = lambda ids, **options: get_many(ids, **{**options, "interval": 0.0})
    driver = Stock(app)
    yield lambda make: _ran(app, driver, make, seen)
    driver.close()
    app.close()


def _steps(t: Callable[..., Any], many: int, prefix: str = "s") -> list[Any]:
    return [t(f"{prefix}{number}") for number in range(many)]


CANVASES: dict[str, Make] = {
    "a task": lambda t: t("a"),
    "a chain": lambda t: chain(t("a"), t("b"), t("c")),
    "a long chain": lambda t: chain(*_steps(t, LONG)),
    "a group": lambda t: group(t("a"), t("b")),
    "many": lambda t: group(_steps(t, MANY)),
    "a chord": lambda t: chord([t("a"), t("b")], t("body")),
    "a chord of many": lambda t: chord(_steps(t, MANY), t("body")),
    "a long body": lambda t: chord([t("a"), t("b")], chain(*_steps(t, LONG))),
    "a group in the middle": lambda t: chain(t("a"), group(t("b"), t("c")), t("d"), t("e")),
    "a group, and a long rest": lambda t: chain(t("a"), group(t("b"), t("c")), *_steps(t, LONG)),
    "a chord in a chord": lambda t: chord(
        [chord([t("a"), t("b")], t("inner")), chain(t("c"), t("d"))], chain(t("body"), t("after"))
    ),
    "a group in a header": lambda t: chord([t("a"), group(t("b"), t("c"))], t("body")),
    "linked": lambda t: chain(t("a"), t("b").set(link=[t("linked")])),
    "an error": lambda t: chain(t("a"), t("b", "fails"), t("c")).on_error(t("error", "told")),
    "an error in a header": lambda t: chord([t("a", "fails"), t("b")], t("body").on_error(t("error", "told"))),
    "tried again": lambda t: chain(t("a", "again"), t("b")),
    "replaced": lambda t: chain(t("a", "replaced", by=dict(t("r"))), t("b")),
    "replaced by a long chain": lambda t: chain(
        t("a", "replaced", by=dict(chain(*_steps(t, LONG, "r")))), *_steps(t, LONG)
    ),
    "replaced by a chord": lambda t: chain(t("a", "replaced", by=dict(chord([t("r"), t("q")], t("p")))), t("b")),
    "replaced by what is stamped": lambda t: chain(t("a", "replaced", by=dict(_stamped(t("r"), mine="r"))), t("b")),
    "a body that sends": lambda t: chain(t("a", "sends"), t("b")),
    "a step that is stamped": lambda t: chain(*_steps(t, LONG), _stamped(t("own"), mine="own"), *_steps(t, 3, "l")),
}

STAMPS: dict[str, Callable[[Any], Any]] = {
    "none": lambda canvas: canvas,
    "by name": lambda canvas: _stamped(canvas, tenant="t", batch=3),
    "by a visitor": lambda canvas: _stamped(canvas, Each(), tenant="t"),
    "some of them": lambda canvas: _stamped(canvas, Hidden()),
    "twice": lambda canvas: _stamped(_stamped(canvas, tags="1"), append_stamps=True, tags="2"),
}


def _stamped(canvas: Any, *visitor: Any, **stamps: Any) -> Any:
    canvas.stamp(*visitor, **stamps)
    return canvas


def _pairs() -> Iterator[Any]:
    for canvas, make in CANVASES.items():
        for stamps in STAMPS if canvas in ("a long chain", "a chord") else ("by name", "by a visitor"):
            yield pytest.param(make, STAMPS[stamps], id=f"{canvas}, {stamps}")


@pytest.mark.parametrize(("make", "stamp"), list(_pairs()))
def test_they_are_celerys(
    make: Make, stamp: Callable[[Any], Any], ours: Callable[[Make], list[str]], celerys: Callable[[Make], list[str]]
) -> None:
    expected = celerys(lambda t: stamp(make(t)))
    assert expected
    assert ours(lambda t: stamp(make(t))) == expected
