from __future__ import annotations

from celeriac.core.attempt import Attempt
from celeriac.core.current import attempting
from celeriac.core.message import DeliveryFacts, IdempotencyKey, Lease, TaskMessage
from celeriac.core.transactions import publishing_within
from celeriac.publish.outgoing import may_go_ahead

PLAIN = TaskMessage("q", "[{}, {}, null, null]", "", task_id="a", name="shop.charge")
KEYED = TaskMessage(
    "q", "[{}, {}, null, null]", "", "b", "shop.charge", key=IdempotencyKey("shop.charge", "k", "d", 60.0)
)


def attempt(**fields: bool) -> Attempt:
    return Attempt("a", "shop.charge", DeliveryFacts(Lease(1, 1)), "worker", 0.0, **fields)  # type: ignore[arg-type]


def test_what_may_be_refused_waits_for_its_answer() -> None:
    assert may_go_ahead([PLAIN, PLAIN])
    assert not may_go_ahead([PLAIN, KEYED])


def test_what_is_somebodys_goes_his_way() -> None:
    with attempting(attempt()):
        assert may_go_ahead([PLAIN])
    with attempting(attempt(buffering=True)):
        assert not may_go_ahead([PLAIN])
    growing = attempt()
    growing.growing["a"] = "chord"
    with attempting(growing):
        assert not may_go_ahead([PLAIN])
    with publishing_within(object(), object()):
        assert not may_go_ahead([PLAIN])
