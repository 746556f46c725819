from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from celeriac.core.checkpoint import SINGLY, Checkpoint, Pace, number_of, pace_within, progress_of, turn_of


def saves(pace: Pace, rows: int, each: float, cost: float) -> list[int]:
    """After which rows it is saved, where a row and a save take so many seconds."""
    now, found = 0.0, []
    for row in range(1, rows + 1):
        now += each
        if pace.due(now):
            found.append(row)
            pace.saved(now, now + cost)
            now += cost
    return found


def test_it_is_saved_every_so_many_seconds() -> None:
    assert saves(Pace(5, 0.0, careful=False), 30, 1.0, 0.0) == [5, 10, 15, 20, 25, 30]


def test_after_a_crash_every_row_is_saved_at_first() -> None:
    found = saves(Pace(5, 0.0, careful=True), SINGLY, 0.0001, 0.001)
    assert found == list(range(1, SINGLY + 1))


def test_then_saving_takes_half_of_the_time() -> None:
    found = [row for row in saves(Pace(5, 0.0, careful=True), 5000, 0.001, 0.01) if SINGLY < row < 2000]
    assert all(9 <= later - row <= 11 for row, later in pairwise(found))


def test_and_no_longer_than_a_checkpoint_is_apart() -> None:
    found = [row for row in saves(Pace(5, 0.0, careful=True), 20_000, 0.001, 0.001) if row > 10_000]
    assert all(later - row >= 4_990 for row, later in pairwise(found))


@pytest.mark.parametrize(
    ("every", "hard", "soft", "expected"),
    [(5, None, None, 5), (5, 1800, 1740, 5), (5, None, 10, 1), (5, 2, None, 0.2), (5, 0, 0, 5)],
)
def test_checkpoints_are_closer_under_a_short_limit(
    every: float, hard: float | None, soft: float | None, expected: float
) -> None:
    assert pace_within(every, hard, soft) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("give_way", "hard", "soft", "expected"),
    [
        (300, None, None, (300, "it has had its 300 s, and others wait their turn")),
        (None, None, None, None),
        (300, 100, None, (80, "its time limit of 100 s is near")),
        (None, 100, 50, (40, "its time limit of 50 s is near")),
        (10, 100, 50, (10, "it has had its 10 s, and others wait their turn")),
    ],
)
def test_it_gives_way_before_a_limit_and_says_why(
    give_way: float | None, hard: float | None, soft: float | None, expected: tuple[float, str] | None
) -> None:
    assert turn_of(give_way, hard, soft) == expected


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(5, 10, 0.5), (12, 10, 1.0), (3, None, None), (0, 0, None), (-1, 10, 0.0)]
)
def test_the_fraction_is_between_nothing_and_all(done: float, total: float | None, fraction: float | None) -> None:
    found = progress_of(Checkpoint("a", done, total))
    assert found is not None
    assert found.fraction == fraction


def test_whole_numbers_are_shown_as_such() -> None:
    found = progress_of(Checkpoint("a", 5.0, 2.5))
    assert found is not None
    assert (repr(found.done), repr(found.total)) == ("5", "2.5")
    assert progress_of(None) is None


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (3, 3),
        (1.5, 1.5),
        (Decimal("1.5"), 1.5),
        (Fraction(1, 2), 0.5),
        (Decimal("NaN"), None),
        (float("inf"), None),
        (10**400, None),
        (True, None),
        ("3", None),
        (None, None),
        (1j, None),
    ],
)
def test_a_number_is_one_that_every_store_keeps(given: Any, number: float | None) -> None:
    found = number_of(given)
    assert (found, type(found) in (int, float, type(None))) == (number, True)
