"""Ids that are unique, and in the order of their making."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

import pytest

from celeriac.publish.ids import new_id, new_ids


def test_an_id_is_a_uuid_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    found = UUID(text)
    assert str(found) == text
    assert (found.version, found.variant) == (7, RFC_4122)
    assert before <= found.int >> 80 <= time.time_ns() // 1_000_000


def test_every_bit_behind_the_time_is_random_but_for_version_and_variant() -> None:
    seen = [UUID(new_id()).int & (1 << 80) - 1 for _ in range(2000)]
    always, ever = (1 << 80) - 1, 0
    for bits in seen:
        always &= bits
        ever |= bits
    marks = 0x7000 << 64 | 1 << 63
    assert always == marks
    assert ever == (1 << 80) - 1 - (0x8000 << 64) - (1 << 62)


def test_no_two_are_the_same() -> None:
    assert len({new_id() for _ in range(20_000)}) == 20_000


def test_later_ones_are_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_700_000_000_000_000_000, 1_700_000_100_000_000_000, 1_000_000))
    monkeypatch.setattr("celeriac.publish.ids.time.time_ns", lambda: next(clock))
    made = [new_id() for _ in range(500)]
    assert made == sorted(made)


def test_many_at_once_are_like_one_by_one() -> None:
    texts = list(new_ids(2000))
    found = [UUID(text) for text in texts]
    assert len(set(found)) == 2000
    assert {(one.version, one.variant) for one in found} == {(7, RFC_4122)}
    bits = {place for one in found for place in range(80) if one.int >> place & 1}
    assert len(bits) == 80 - 2  # the version's highest bit and the variant's second are never set
    assert [str(one) for one in found] == texts
