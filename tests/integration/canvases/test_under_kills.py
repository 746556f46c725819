"""Random canvases on real workers that are killed again and again, on every kind of broker."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.integration.canvases.judging import Sent
from tests.integration.canvases.plan import Canvas, Step, everything
from tests.integration.canvases.strategies import canvases
from tests.integration.canvases.tasks import PAUSE
from tests.integration.keeping import Keep
from tests.integration.sites import BesideSite, PostgresSite, RedisSite, Site
from tests.support import Worker, wait_for
from tests.support.plugin import server

#: How many canvases on each broker, and which: CELERIAC_CANVASES=500 CELERIAC_CANVASES_SEED=7.
MANY = int(os.environ.get("CELERIAC_CANVASES", "20"))
SEED = int(os.environ.get("CELERIAC_CANVASES_SEED", "1"))
#: Seconds between two deaths, and of patience until all is over.
PACE, PATIENCE = 0.4, 90.0


@pytest.fixture(params=["sqlite", "postgres", "redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, tmp_path: Path, keep: Keep) -> Site:
    return keep(_site(request.param, tmp_path))


def _site(kind: str, folder: Path) -> Site:
    # A run that dies is no fault of its task's here, however often.
    usual = {"celeriac_max_crashes": 1000}
    if kind == "postgres":
        return PostgresSite(folder, server("CELERIAC_POSTGRES_URL"), **usual)
    if kind == "redis":
        return RedisSite(folder, server("CELERIAC_REDIS_URL"), **usual)
    if kind == "rabbitmq":
        return BesideSite.of(folder, "amqp", "sqlite", **usual)
    return Site(folder, **usual)


def drawn(number: int, chosen: int, *, failing: bool) -> list[Canvas]:
    """The canvases of a seed."""
    found: list[Canvas] = []

    @seed(chosen)
    @settings(max_examples=number, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(canvases(failing=failing))
    def draw(canvas: Canvas) -> None:
        # What a body sends itself goes at once: a run that dies behind it is repeated, and sends it once more.
        if not any(isinstance(node, Step) and node.how == "grow" for node in everything(canvas)):
            found.append(canvas)

    draw()
    return found


class Crew:
    """Workers, of whom now and then one dies, and is replaced; or a process of its pool does."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site, self._chance = site, chance
        self.deaths = 0
        self._workers = [self._hire() for _ in range(2)]
        wait_for(lambda: all(worker.ready() for worker in self._workers), 60, "the workers do not start")

    def _hire(self) -> Worker:
        return self._site.worker("prefork", concurrency=2, wait=False, env={PAUSE: "0.02"})

    def suffer(self) -> None:
        place = self._chance.randrange(len(self._workers))
        worker = self._workers[place]
        children = worker.children() if worker.ready() else []
        if children and self._chance.random() < 0.6:
            with suppress(AssertionError):  # it has just ended
                worker.kill_child(self._chance.choice(children))
                self.deaths += 1
        elif worker.ready():
            worker.kill()
            self.deaths += 1
            self._workers[place] = self._hire()


def test_each_node_settles_once_whoever_dies(site: Site) -> None:
    try:
        _run(site)
    except BaseException as error:
        again = f"CELERIAC_CANVASES_SEED={SEED} CELERIAC_CANVASES={MANY}"
        raise AssertionError(f"{error}\nthe same canvases again: {again}") from error


def _run(site: Site) -> None:
    crew, sent = Crew(site, random.Random(SEED)), []
    for canvas in drawn(MANY, SEED, failing=True):
        sent.append(Sent(site.app, canvas, site.file()))
        if len(sent) % 6 == 0:
            crew.suffer()
    _quiet(site, crew)
    for one in sent:
        one.check(repeats=True)
        one.redrive()
    _quiet(site, crew)
    for one in sent:
        one.check(redriven=True, repeats=True)
    assert crew.deaths, "nobody died: there was too little to do"


def _quiet(site: Site, crew: Crew) -> None:
    """Until nothing is left to do, deaths all the while; chords whose body nobody sent count as left."""
    end, due = time.monotonic() + PATIENCE, time.monotonic() + PACE
    still = 0
    while still < 3:
        assert time.monotonic() < end, f"left: {site.queues()} {site.store.chords_waiting(-1.0)}"
        still = 0 if site.queues() or site.store.chords_waiting(-1.0) else still + 1
        if not still and time.monotonic() > due:
            crew.suffer()
            due = time.monotonic() + PACE
        time.sleep(0.05)
