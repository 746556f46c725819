from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from celeriac.publish.ways.choice import Configured, Publish, Way, choose

#: Of what is configured: store, ledger, by_the_ledger, local_outbox. Of the publish: elsewhere, batched, transaction,
#: settling, known. A dash stands for both.
TABLE = [
    ("100-", "1----", Way.ELSEWHERE),
    ("100-", "01---", Way.BATCH),
    ("100-", "00---", Way.STORE),
    ("0---", "1----", Way.BROKER),
    ("01--", "01---", Way.BATCH),
    ("011-", "00---", Way.LEDGER),
    ("0101", "00---", Way.LEDGER),
    ("0100", "001--", Way.LEDGER),
    ("0100", "0001-", Way.LEDGER),
    ("0100", "00001", Way.LEDGER),
    ("0100", "00000", Way.STRAIGHT),
    ("000-", "0-1--", Way.OUTBOX),
    ("000-", "0-0--", Way.BROKER),
]
#: A broker that is a store keeps its ledger itself, and no ledger means nothing goes by it.
CONFIGURED = [
    Configured(*each)
    for each in product([False, True], repeat=4)
    if not (each[0] and each[1]) and (each[1] or not each[2])
]
PUBLISHES = [Publish(*each) for each in product([False, True], repeat=5)]


def rows(configured: Configured, publish: Publish) -> Iterator[tuple[str, str, Way]]:
    facts = [str(int(fact)) for fact in (*configured, *publish)]
    for row in TABLE:
        if all(wanted in ("-", fact) for wanted, fact in zip(row[0] + row[1], facts, strict=True)):
            yield row


@pytest.mark.parametrize("configured", CONFIGURED, ids=str)
def test_every_publish_goes_the_way_of_its_one_row(configured: Configured) -> None:
    for publish in PUBLISHES:
        [(_, _, way)] = rows(configured, publish)
        assert choose(configured, publish).way is way, publish


def test_every_row_decides_something() -> None:
    used = Counter(row for configured in CONFIGURED for publish in PUBLISHES for row in rows(configured, publish))
    assert set(used) == set(TABLE)
    assert {way for _, _, way in TABLE} == set(Way)


@pytest.mark.parametrize("configured", CONFIGURED, ids=str)
def test_the_local_outbox_spares_what_nobody_else_keeps(configured: Configured) -> None:
    spared = [publish for publish in PUBLISHES if choose(configured, publish).spared]
    assert spared == ([Publish(known=False), Publish(known=True)] if configured.local_outbox else [])
