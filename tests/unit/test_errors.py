from __future__ import annotations

import copy
import inspect
import pickle
from datetime import datetime, timezone

import celery
import pytest

from celeriac import errors
from celeriac.publish.arguments import UnsendableArgument
from celeriac.publish.routes import UndeclaredQueue

CRASHED = tuple(datetime(2026, 2, 3, 4, minute, tzinfo=timezone.utc).timestamp() for minute in (5, 6, 7))

#: Each error, and what its text must name.
EXAMPLES: list[tuple[errors.CeleriacError, list[str]]] = [
    (errors.CeleriacError("what happened"), ["what happened"]),
    (
        errors.ForeignLedger("shop.charge", "abc", "/srv/a.db (1)", "/srv/b.db (2)"),
        ["shop.charge[abc]", "/srv/a.db (1)", "/srv/b.db (2)", "back in its queue", "ledger="],
    ),
    (errors.SettingsError("task_ack_late", "did you mean task_acks_late?"), ["task_ack_late", "task_acks_late?"]),
    (
        errors.QueueConflict("queue", "mail", "x-queue-type", "quorum", "classic"),
        ["queue 'mail'", "x-queue-type classic", "quorum", 'task_default_queue_type = "classic"', "delete_queue mail"],
    ),
    (
        errors.QueueConflict("queue", "mail", "x-delivery-limit", "100", "none"),
        ["queue 'mail'", "x-delivery-limit none", "100", 'task_default_queue_type = "quorum"', "task_queues"],
    ),
    (errors.QueueOptionError("mail", "weight", "0 is no weight"), ["queue mail", "option weight", "0 is no weight"]),
    (errors.OptionError("shop.charge", "retries", "-1 is no number"), ["shop.charge", "retries", "-1"]),
    (errors.ArgumentError("shop.charge", "order", "it is a lock"), ["shop.charge", "order", "it is a lock"]),
    (errors.IdempotencyConflict("shop.charge", "charge:7", "id-1"), ["shop.charge", "charge:7", "id-1", "Nothing was"]),
    (errors.TaskExited("shop.add", "SystemExit(2)"), ["shop.add", "SystemExit(2)", "counts as a failure"]),
    (errors.Unroutable("shop.add", "foo", "bar"), ["shop.add", "foo", "bar", "Nothing was sent", "queue="]),
    (errors.StoreError("/data/shop.db", "it hums"), ["/data/shop.db", "it hums"]),
    (errors.StoreUnavailable("/data/shop.db", "database is locked"), ["/data/shop.db", "locked", "If this stays"]),
    (
        errors.ChainLost("/data/shop.db", "chain c1 is not known"),
        ["/data/shop.db", "c1", "Nothing of it has run", "dead import"],
    ),
    (errors.StoreReplaced("/data/shop.db", "it was moved"), ["/data/shop.db", "it was moved", "restart every process"]),
    (errors.StoreReadOnly("/data/shop.db"), ["/data/shop.db", "read-only", "permission"]),
    (
        errors.ServerUnavailable("postgresql://h/d", "refused"),
        ["postgresql://h/d", "refused", "whether the server runs"],
    ),
    (errors.ServerReadOnly("postgresql://h/d"), ["postgresql://h/d", "read-only", "promoted", "target_session_attrs"]),
    (errors.StoreCorrupt("/data/shop.db", "malformed"), ["/data/shop.db", "corrupt", "malformed", "backup"]),
    (errors.StoreTooNew("/data/shop.db", 9, 2), ["/data/shop.db", "9", "2", "Upgrade celeriac"]),
    (errors.LeaseLost("id-1", 42), ["id-1", "42", "celeriac_lease_seconds"]),
    (errors.DeadLetterError("dead letter 7 is gone"), ["7 is gone"]),
    (errors.CheckpointError("shop.export", "declare it with bind=True"), ["task shop.export", "bind=True"]),
    (errors.CircuitError("gatway", "did you mean 'gateway'?"), ["circuit 'gatway'", "did you mean 'gateway'?"]),
    (errors.TransactionError("it leads elsewhere"), ["leads elsewhere"]),
    (errors.LeadsElsewhere("it leads elsewhere"), ["leads elsewhere"]),
    (errors.PublishRolledBack("id-1"), ["id-1", "never sent", "rolled back"]),
    (errors.PartlySent(1500, errors.StoreUnavailable("/data/shop.db")), ["1,500", "/data/shop.db", "task_id"]),
    (
        errors.RedriveSuperseded("shop.charge", 4, "id-2", 3, "STARTED"),
        ["shop.charge", "id-2", "generation 3", "STARTED"],
    ),
    (errors.RedriveRefused("shop.charge", "id-2", "charge:7", "id-1"), ["shop.charge", "id-2", "charge:7", "id-1"]),
    (
        errors.PoisonTask("shop.resize", "id-3", CRASHED),
        ["shop.resize", "id-3", "3 times (2026-02-03T04:05:00+00:00 to 2026-02-03T04:07:00+00:00)"],
    ),
    (errors.PoisonTask("shop.resize", "id-3", CRASHED[:1]), ["once (2026-02-03T04:05:00+00:00)"]),
    (errors.PoisonTask("shop.resize", "id-3", []), ["0 times (): task shop.resize"]),
    (UnsendableArgument("shop.charge", "order", "it is a lock"), ["shop.charge", "order", "it is a lock"]),
    (
        UndeclaredQueue([("task_routes['shop.*']", "mial")], ["mail", "default"]),
        ["task_routes['shop.*']", "'mial'", "did you mean 'mail'?", "task_create_missing_queues"],
    ),
]


def test_every_error_has_an_example() -> None:
    kinds = {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)}
    kinds.discard(errors.CeleriacWarning)
    assert kinds <= {type(example) for example, _ in EXAMPLES}
    assert all(issubclass(kind, errors.CeleriacError) for kind in kinds)


@pytest.mark.parametrize(("error", "said"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_the_text_names_what_matters(error: errors.CeleriacError, said: list[str]) -> None:
    assert [part for part in said if part not in str(error)] == []


@pytest.mark.parametrize("error", [example for example, _ in EXAMPLES], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_it_survives_a_pipe_between_processes(error: errors.CeleriacError, protocol: int) -> None:
    for copied in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(copied) is type(error)
        assert copied.args == error.args
        assert vars(copied) == vars(error)
        assert str(copied) == str(error)


@pytest.mark.parametrize("error", [example for example, _ in EXAMPLES], ids=lambda value: type(value).__name__)
def test_it_survives_celerys_json_results(error: errors.CeleriacError) -> None:
    backend = celery.Celery("shop", set_as_current=False, backend="cache+memory://").backend
    stored = backend.decode(backend.encode(backend.prepare_exception(error)))
    copied = backend.exception_to_python(stored)
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


def test_they_are_what_python_calls_such_mistakes() -> None:
    assert issubclass(errors.SettingsError, ValueError)
    assert issubclass(errors.OptionError, TypeError)
    assert issubclass(errors.ArgumentError, TypeError)
    assert issubclass(errors.RedriveRefused, errors.DeadLetterError)
    stores = [errors.StoreUnavailable, errors.StoreReadOnly, errors.StoreCorrupt, errors.StoreTooNew]
    assert all(issubclass(kind, errors.StoreError) for kind in stores)
    assert not issubclass(errors.LeaseLost, errors.StoreError)  # no retry gets a lost lease back
