"""A message in an outbox comes out as it went in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeriac.core.chains import Chains, Kept
from celeriac.core.message import IdempotencyKey, Join, TaskMessage
from celeriac.core.workflow import Node, Workflow
from celeriac.store.outbox import decoded, encoded

PLAIN = TaskMessage("celery", "[{}, {}, null, null]", "[[], {}, {}] ☃", "a", "shop.charge", 3, generation=0)


@pytest.mark.parametrize(
    "message",
    [
        PLAIN,
        replace(PLAIN, body=b"\x00\xff", run_at=2.5, expires_at=3.5),
        replace(PLAIN, key=IdempotencyKey("shop.charge", "order:7", "digest", 60.0), awaited=True),
        replace(PLAIN, limits="[]", grows="group"),
        replace(PLAIN, opens=Workflow("w", "nightly", [Node("a", "t"), Node("g", "t", [0], 30)], "fail", "parent")),
        replace(PLAIN, joins=(Join("g", 3), Join("h", tree="{}", expires_at=4.5), Join("i", tree=b"\x00\xff"))),
        replace(PLAIN, chains=Chains((Kept("c", "application/json utf-8", ("{}", "[]")),), (("c", "a"), ("c", "g")))),
    ],
)
def test_it_is_as_it_was(message: TaskMessage) -> None:
    assert decoded(encoded(message)) == message


def test_a_relay_of_the_version_before_can_read_what_brings_no_chord() -> None:
    assert "joins" not in encoded(PLAIN)
