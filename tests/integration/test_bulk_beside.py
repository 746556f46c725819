"""Many tasks beside a ledger: together into it, or together confirmed by the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celeriac.core.message import LEDGER_HEADER, Published
from celeriac.publish.batch import SLICE
from tests.integration.sites import BesideSite, lines
from tests.support.plugin import PROGRAMS


@pytest.fixture(params=["sqlite", "postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BesideSite]:
    site = BesideSite.of(tmp_path, "redis", request.param)
    request.node.stash[PROGRAMS] = site.workers
    yield site
    site.close()


@pytest.fixture
def trips(site: BesideSite, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages went into the ledger in each transaction."""
    counted: list[int] = []
    publish = site.store.publish

    def counting(messages: Any) -> list[Published]:
        counted.append(len(messages))
        return publish(messages)

    monkeypatch.setattr(site.store, "publish", counting)
    return counted


def test_five_hundred_go_into_the_ledger_together(site: BesideSite, trips: list[int]) -> None:
    count = 2 * SLICE + 7
    sent = site.app.send_tasks(site.add.s(number, 1) for number in range(count))
    assert trips == [SLICE, SLICE, 7]
    assert site.in_broker() == 0  # a worker gives it what there is
    site.worker("threads", concurrency=4)
    site.wait_ended([result.id for result in sent])
    assert [result.get(timeout=30) for result in sent] == list(range(1, count + 1))


def test_a_group_and_a_chord_too_and_each_names_its_ledger(site: BesideSite, trips: list[int]) -> None:
    journal = site.file()
    members = group(site.add.s(number, 1) for number in range(60)).delay()
    nested = group(site.add.s(1, 1).set(countdown=0.1), chain(site.add.s(1, 1), site.add.s(1))).delay()
    joined = chord((site.add.s(number, 1) for number in range(40)), site.effect_of.s(journal)).delay()
    assert trips == [60, 2, 40]
    held = site.store.take_for_relay(200, 0.01)
    assert len(held) in (101, 102)  # one of them may not be due yet
    assert all(json.loads(item.envelope)[0][LEDGER_HEADER][0] == site.store.uuid for item in held)
    site.worker("threads", concurrency=4)
    assert members.get(timeout=60) == list(range(1, 61))
    assert nested.get(timeout=60) == [2, 3]
    assert joined.get(timeout=60) == list(range(1, 41))
    assert len(lines(journal)) == 1
