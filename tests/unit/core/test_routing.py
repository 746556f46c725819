"""How a worker shares itself out among its queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from celeriac.core.routing import Share, Turns

ENDLESS = 1 << 40


@dataclass
class Item:
    queue: str
    suspect: bool = False


class Broker:
    """Hands out what waits as a store does: from the first queue first; counts how often it was asked."""

    def __init__(self, **waiting: int) -> None:
        self.waiting = waiting
        self.asked: list[tuple[list[str], int]] = []
        self.suspects: set[str] = set()

    def claim(self, queues: Sequence[str], most: int) -> list[Item]:
        self.asked.append((list(queues), most))
        assert most > 0
        for queue in queues:
            if queue in self.suspects:
                self.suspects.discard(queue)
                return [Item(queue, suspect=True)]
        found: list[Item] = []
        for queue in queues:
            count = min(self.waiting.get(queue, 0), most - len(found))
            self.waiting[queue] = self.waiting.get(queue, 0) - count
            found += [Item(queue)] * count
        return found


def served(turns: Turns, broker: Broker, claims: int, room: int = 1) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(claims):
        found.update(item.queue for item in turns.claim(room, {}, broker.claim))
    return found


TABLE: list[tuple[dict[str, int], set[str], dict[str, float]]] = [
    # weights; the empty queues; shares of what is served
    ({"a": 1, "b": 1}, set(), {"a": 1 / 2, "b": 1 / 2}),
    ({"a": 3, "b": 1}, set(), {"a": 3 / 4, "b": 1 / 4}),
    ({"a": 1, "b": 3}, set(), {"a": 1 / 4, "b": 3 / 4}),
    ({"a": 5, "b": 3, "c": 2}, set(), {"a": 0.5, "b": 0.3, "c": 0.2}),
    ({"a": 100, "b": 1}, set(), {"a": 100 / 101, "b": 1 / 101}),
    ({"a": 7, "b": 7, "c": 7}, set(), {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
    # An empty queue's share goes to the others, by their weights.
    ({"a": 5, "b": 3, "c": 2}, {"a"}, {"b": 0.6, "c": 0.4}),
    ({"a": 5, "b": 3, "c": 2}, {"b"}, {"a": 5 / 7, "c": 2 / 7}),
    ({"a": 5, "b": 3, "c": 2}, {"a", "b"}, {"c": 1.0}),
    ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, {"a", "b", "d", "e"}, {"c": 1.0}),
]


@pytest.mark.parametrize("room", [1, 4, 500])
@pytest.mark.parametrize(("weights", "empty", "shares"), TABLE)
def test_a_thousand_claims_are_shared_by_weight(
    weights: Mapping[str, int], empty: set[str], shares: Mapping[str, float], room: int
) -> None:
    turns = Turns(list(weights), {queue: Share(weight) for queue, weight in weights.items()})
    broker = Broker(**{queue: ENDLESS for queue in weights if queue not in empty})
    found = served(turns, broker, 1000, room)
    assert sum(found.values()) == 1000 * room, "no room is left unused while something waits"
    assert found.keys() == shares.keys()
    for queue, share in shares.items():
        assert found[queue] == pytest.approx(1000 * room * share, rel=0.05, abs=1)


def test_it_is_smooth_and_nobody_waits_for_a_whole_round() -> None:
    turns = Turns(["a", "b", "c"], {"a": Share(5), "b": Share(1), "c": Share(1)})
    broker = Broker(a=ENDLESS, b=ENDLESS, c=ENDLESS)
    order = "".join(turns.claim(1, {}, broker.claim)[0].queue for _ in range(70))
    assert "a" * 7 not in order
    for queue in "abc":
        gaps = [len(gap) for gap in order.split(queue)]
        assert max(gaps) <= 7, f"{queue} waits too long: {order}"


def test_a_queue_that_was_empty_makes_up_for_nothing() -> None:
    turns = Turns(["a", "b"], {"a": Share(1), "b": Share(1)})
    broker = Broker(a=ENDLESS)
    served(turns, broker, 1000)
    broker.waiting["b"] = ENDLESS
    first = served(turns, broker, 20)
    assert 9 <= first["b"] <= 11


def test_a_queue_that_comes_back_is_served_at_once() -> None:
    turns = Turns(["a", "b"], {"a": Share(100), "b": Share(1)})
    broker = Broker(a=ENDLESS)
    served(turns, broker, 1000)
    broker.waiting["b"] = 1
    assert served(turns, broker, 3)["b"] == 1


def test_a_queue_without_a_weight_counts_one() -> None:
    turns = Turns(["a", "b"], {"a": Share(3)})
    assert served(turns, Broker(a=ENDLESS, b=ENDLESS), 1000) == pytest.approx({"a": 750, "b": 250}, abs=2)


@pytest.mark.parametrize("room", [1, 10])
def test_strict_queues_go_first_in_the_order_given(room: int) -> None:
    turns = Turns(["low", "urgent", "soon"], {"urgent": Share(strict=True), "soon": Share(strict=True)})
    broker = Broker(low=ENDLESS, soon=30, urgent=30)
    order = [item.queue for _ in range(100 // room) for item in turns.claim(room, {}, broker.claim)]
    assert order == ["urgent"] * 30 + ["soon"] * 30 + ["low"] * 40
    broker.waiting["urgent"] = 1
    assert turns.claim(1, {}, broker.claim)[0].queue == "urgent"


def test_no_more_of_a_queue_is_held_than_it_says() -> None:
    turns = Turns(["a", "b"], {"a": Share(most=2), "b": Share()})
    broker = Broker(a=ENDLESS, b=ENDLESS)
    assert Counter(item.queue for item in turns.claim(10, {}, broker.claim)) == {"a": 2, "b": 8}
    assert Counter(item.queue for item in turns.claim(10, {"a": 1}, broker.claim)) == {"a": 1, "b": 9}
    assert Counter(item.queue for item in turns.claim(10, {"a": 2}, broker.claim)) == {"b": 10}
    assert Counter(item.queue for item in turns.claim(10, {"a": 9}, broker.claim)) == {"b": 10}


def test_a_strict_queue_that_is_full_lets_the_others_pass() -> None:
    turns = Turns(["a", "b"], {"a": Share(strict=True, most=3)})
    broker = Broker(a=ENDLESS, b=ENDLESS)
    assert Counter(item.queue for item in turns.claim(10, {"a": 1}, broker.claim)) == {"a": 2, "b": 8}


def test_where_all_are_full_nobody_is_asked() -> None:
    turns = Turns(["a", "b"], {"a": Share(most=1), "b": Share(most=2)})
    held = {"a": 1, "b": 2}
    broker = Broker(a=ENDLESS, b=ENDLESS)
    assert turns.capped
    assert not turns.may_claim(held)
    assert turns.claim(5, held, broker.claim) == []
    assert not broker.asked
    assert turns.may_claim({"a": 1, "b": 1})


def test_an_idle_worker_asks_once_for_all_that_are_weighted() -> None:
    turns = Turns(["a", "b", "c"], {"a": Share(3), "b": Share(2)})
    broker = Broker()
    assert turns.claim(16, {}, broker.claim) == []
    assert len(broker.asked) == 1


def test_a_suspect_is_claimed_alone() -> None:
    turns = Turns(["a", "b"], {"a": Share(most=1)})
    broker = Broker(a=ENDLESS, b=ENDLESS)
    broker.suspects = {"a"}
    found = turns.claim(10, {}, broker.claim)
    assert [(item.queue, item.suspect) for item in found] == [("a", True)]
