"""Which limited messages go next: the decision alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.lanes import Bucket, Buckets, Lane, decide, rules_of
from celeriac.core.limits import Bound, Rule

NOW = 1000.0


def lane(waiting: int, *bounds: Bound, priority: int = 0) -> Lane:
    return Lane("celery", priority, "", waiting, list(bounds))


def slots(number: int, value: str = "", name: str = "c") -> Bound:
    return Bound(name, value, Rule(slots=number))


def decided(
    lanes: list[Lane], wanted: int, taken: dict[str, int] | None = None, tats: dict[str, float] | None = None
) -> Buckets:
    states = {
        bucket: Bucket(rule, (taken or {}).get(bucket, 0), (tats or {}).get(bucket))
        for bucket, rule in rules_of(lanes).items()
    }
    buckets = Buckets(NOW, states)
    decide(lanes, buckets, wanted)
    return buckets


def test_no_more_than_are_wanted_in_turns() -> None:
    lanes = [lane(10, slots(9, "a")), lane(10, slots(9, "b")), lane(1, slots(9, "c"))]
    decided(lanes, 8)
    assert [one.take for one in lanes] == [4, 3, 1]


def test_a_full_bucket_stops_its_lanes_and_no_others() -> None:
    lanes = [lane(5, slots(2, "a")), lane(5, slots(2, "b"))]
    decided(lanes, 10, {slots(2, "a").bucket: 1})
    assert [(one.take, one.blocked_on) for one in lanes] == [(1, slots(2, "a").bucket), (2, slots(2, "b").bucket)]


def test_a_lane_that_was_emptied_is_not_blocked() -> None:
    lanes = [lane(2, slots(2))]
    decided(lanes, 10)
    assert (lanes[0].take, lanes[0].blocked_on) == (2, None)


def test_higher_priorities_first() -> None:
    lanes = [lane(3, slots(9, "a"), priority=0), lane(3, slots(9, "b"), priority=5)]
    decided(lanes, 4)
    assert [one.take for one in lanes] == [1, 3]


def test_room_that_is_left_is_told() -> None:
    everybody = slots(5, name="all")
    lanes = [lane(9, slots(1, "a"), everybody)]
    assert decided(lanes, 9).with_room() == {everybody.bucket: 4}


@pytest.mark.parametrize(
    ("tat", "room"),
    [
        (None, 3),  # never used
        (NOW - 500, 3),  # long ago
        (NOW, 3),
        (NOW + 10, 2),  # one of the burst is used
        (NOW + 25, 0),
        (NOW + 29.999, 0),
        (NOW + 20, 1),
    ],
)
def test_a_rate_knows_how_many_may_start(tat: float | None, room: int) -> None:
    assert Bucket(Rule(every=10, burst=3), tat=tat).room(NOW) == room


def test_a_clock_that_began_anew_stops_nothing_for_longer_than_a_burst() -> None:
    rule = Rule(every=10, burst=3)
    one = lane(1, Bound("r", "", rule))
    buckets = decided([one], 1, tats={one.bounds[0].bucket: 1e9})
    state = buckets.states[one.bounds[0].bucket]
    free = state.free_at(NOW)
    assert (one.take, free) == (0, NOW + 10)
    # What is kept is what was found, so that who comes back then finds room.
    assert free is not None
    assert Bucket(rule, tat=state.tat).room(free) == 1


def test_free_at_is_the_moment_at_which_there_is_room() -> None:
    bucket = Bucket(Rule(every=0.6))
    bucket.take(1, NOW)
    free = bucket.free_at(NOW)
    assert free is not None
    assert (bucket.room(free - 0.001), bucket.room(free)) == (0, 1)


def test_who_waits_for_a_slot_is_told_no_time() -> None:
    bucket = Bucket(Rule(slots=1, every=5.0), taken=1)
    assert bucket.free_at(NOW) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from("abc"), st.integers(0, 2)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 30),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 4)),
)
def test_nothing_is_exceeded_and_nothing_is_left_that_could_start(
    given_lanes: list[tuple[int, str, int]], wanted: int, running: dict[str, int]
) -> None:
    everybody = slots(6, name="all")
    lanes = [lane(waiting, slots(3, value), everybody, priority=priority) for waiting, value, priority in given_lanes]
    before = Counter({slots(3, value).bucket: count for value, count in running.items()})
    buckets = decided(lanes, wanted, before)
    after = before.copy()
    for one in lanes:
        assert 0 <= one.take <= one.waiting
        after.update({bound.bucket: one.take for bound in one.bounds})
    for bucket, state in buckets.states.items():
        assert state.taken == after[bucket]
        limit = state.rule.slots
        assert limit is not None
        assert after[bucket] <= max(limit, before[bucket])
    if sum(one.take for one in lanes) < wanted:
        for one in lanes:
            left = one.take < one.waiting
            assert left == (one.blocked_on is not None)
            assert not left or buckets.full(one.bounds) is not None
