"""What do workflows cost: a chord beside as many plain tasks, a step beside stock Celery's, a long chain, a wide chord?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from benchmarks import harness
from benchmarks.harness import Figure

#: Members of the chord that is compared with plain tasks, and of the wide one; steps of the chain.
MEMBERS, WIDE, STEPS = 10_000, 100_000, 1_000
#: A chord over as many plain tasks; a step over stock Celery's; the largest message of a chain over the smallest.
CHORD_BAR, STEP_BAR, SIZE_BAR = 1.3, 1.2, 1.2
#: How often each is timed in one run, by turns.
TURNS = 3
CHORD = """
from celery import chord, group
from benchmarks.apps.tasks import counted
def quiet():
    while any(size.ready or size.claimed for size in app.store.sizes()): time.sleep(0.02)
def plain():
    for _ in range({members}): noop.delay()
    quiet()
def grouped():
    group([noop.s() for _ in range({members})]).delay()
    quiet()
def joined():
    assert chord([noop.s() for _ in range({members})], counted.s()).delay().get(timeout=300) == {members}
    quiet()
def timed(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
noop.delay().get(timeout=60)
print(json.dumps([[timed(plain), timed(grouped), timed(joined)] for _ in range({turns})]))
"""
STEP = """
from celery import chain, chord
from benchmarks.apps.tasks import counted
def timed(canvases, steps):
    began = time.perf_counter()
    for result in [canvas.delay() for canvas in canvases]: result.get(timeout=60)
    return (time.perf_counter() - began) / steps * 1000
def chains():
    return timed([chain(*[noop.si() for _ in range(10)]) for _ in range(40)], 400)
def chords():
    return timed([chord([noop.s() for _ in range(19)], counted.s()) for _ in range(20)], 400)
noop.delay().get(timeout=60)
chains(), chords()
print(json.dumps([chains(), chords()]))
"""
CHAIN = """
from celery import chain
last = chain(*[noop.si() for _ in range({steps})]).delay()
while app.AsyncResult(last.id).state != "SUCCESS": time.sleep(0.05)
print(json.dumps(1))
"""
WIDE_CHORD = """
import resource
from celery import chord
from benchmarks.apps.tasks import counted
noop.delay()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
chord((noop.s() for _ in range({members})), counted.s()).delay()
print(json.dumps([time.perf_counter() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000]))
"""


def measure(runs: int, tasks: int, say: harness.Say) -> list[Figure]:
    """Ratios within one run each, and what a chord of 100,000 takes; a small ``tasks`` makes them small."""
    small = min(1.0, tasks / 20_000)
    return [
        *_chord(runs, int(MEMBERS * small), say),
        *_steps(runs, say),
        _sizes(int(STEPS * small), say),
        *_wide(runs, int(WIDE * small), say),
    ]


def _chord(runs: int, members: int, say: harness.Say) -> list[Figure]:
    """Over as many tasks of the same kind: sent one by one, and as a group that nothing joins."""
    ratios: list[float] = []
    over_group: list[float] = []
    for turn in range(runs):
        say(f"workflows: chord of {members:,}, run {turn + 1} of {runs}")
        with harness.broker("celeriac") as at, harness.worker(at, ["solo"]):
            found = harness.client(at, CHORD.format(members=members, turns=TURNS))
            ratios += [joined / plain for plain, _, joined in found]
            over_group += [joined / grouped for _, grouped, joined in found]
    figure = Figure(f"chord of {members:,}", "× plain tasks", {"celeriac": ratios}, f"at most {CHORD_BAR}")
    figure.met = figure.median("celeriac") <= CHORD_BAR
    return [figure, Figure(f"chord of {members:,}", "× the group alone", {"celeriac": over_group})]


def _steps(runs: int, say: harness.Say) -> list[Figure]:
    """Milliseconds a task of chains of ten, and of chords of twenty, each on the same Redis."""
    figures = [Figure(f"a step of {what}", "ms", {"streams": [], "stock": []}) for what in ("chains", "chords")]
    for turn in range(runs):
        for config in ("stock", "streams"):
            say(f"workflows: steps, run {turn + 1} of {runs}, {config}")
            for figure, took in zip(figures, _timed_steps(config, say), strict=True):
                figure.values[config].append(took)
    for figure in figures:
        figure.bar = f"at most {STEP_BAR} × stock"
        figure.met = figure.median("streams") <= STEP_BAR * figure.median("stock")
    return figures


def _timed_steps(config: str, say: harness.Say) -> Any:
    """Stock Celery's client now and then waits in vain for a result; that is not what is measured here."""
    for left in range(3 if config == "stock" else 1, 0, -1):
        try:
            with harness.broker(config) as at, harness.worker(at, ["solo"]):
                return harness.client(at, STEP)
        except RuntimeError as error:
            if left == 1 or "TimeoutError" not in str(error):
                raise
            say("workflows: stock Celery's client has waited in vain; once more")
    raise AssertionError


def _sizes(steps: int, say: harness.Say) -> Figure:
    say(f"workflows: chain of {steps:,}")
    with harness.broker("celeriac") as at:
        harness.client(at, "noop.delay()\nprint(1)")
        with closing(sqlite3.connect(at.folder / "bench.db")) as raw:
            raw.executescript(
                "CREATE TABLE size (bytes INTEGER); CREATE TRIGGER sizes AFTER INSERT ON message "
                "WHEN new.name = 'bench.noop' BEGIN INSERT INTO size VALUES (length(new.envelope) + length(new.body)); END"
            )
        with harness.worker(at, ["solo"]):
            harness.client(at, CHAIN.format(steps=steps))
        with closing(sqlite3.connect(at.folder / "bench.db")) as raw:
            largest, smallest = raw.execute("SELECT max(bytes), min(bytes) FROM size").fetchone()
    ratio = largest / smallest
    name = f"messages of a chain of {steps:,}"
    return Figure(name, "× the smallest", {"celeriac": [ratio]}, f"at most {SIZE_BAR}", met=ratio <= SIZE_BAR)


def _wide(runs: int, members: int, say: harness.Say) -> list[Figure]:
    found: list[Any] = []
    for turn in range(runs):
        say(f"workflows: chord of {members:,} sent, run {turn + 1} of {runs}")
        with harness.broker("celeriac") as at:
            found.append(harness.client(at, WIDE_CHORD.format(members=members)))
    seconds, megabytes = ([one[place] for one in found] for place in (0, 1))
    name = f"send a chord of {members:,}"
    return [Figure(name, "s", {"celeriac": seconds}), Figure(name, "MB more", {"celeriac": megabytes})]
