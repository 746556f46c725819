"""Where tasks go, and what leads to queues that nobody declares."""

from __future__ import annotations

import re
from typing import Any

import kombu
import pytest
from celery.exceptions import QueueNotFound

from celeriac import Celery, Concurrency, Queue
from celeriac.errors import CeleriacWarning, QueueOptionError, SettingsError
from celeriac.publish.routes import UndeclaredQueue, check_selected, goes

pytestmark = pytest.mark.filterwarnings("ignore:\\s*The 'queue' task attribute is deprecated")


def shop(queues: list[Any] | None = None, broker: str = "memory://", **options: Any) -> Celery:
    options = dict(options)
    app = Celery("shop", broker=broker, set_as_current=False, defaults=options.pop("defaults", "safe"))
    if queues is not None:
        app.conf.task_queues = queues
        app.conf.task_default_queue = "default"
    mails = {"queue": options.pop("mails_queue")} if "mails_queue" in options else {}
    app.conf.update(options)

    @app.task(name="parcels.charge", shared=False)
    def charge(customer_id: int) -> None: ...

    @app.task(name="parcels.mail", shared=False, **mails)
    def mail(address: str) -> None: ...

    return app


def by_name(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
    return {"queue": "mail"} if name == "parcels.charge" else None


DECLARED = [Queue("default"), Queue("mail"), kombu.Queue("gateway")]


@pytest.mark.parametrize(
    ("routes", "queue", "where"),
    [
        (None, "default", "task_default_queue"),
        ({"parcels.charge": "gateway"}, "gateway", "task_routes['parcels.charge']"),
        ({"parcels.charge": {"queue": "gateway"}}, "gateway", "task_routes['parcels.charge']"),
        ({"parcels.charge": {"queue": DECLARED[2]}}, "gateway", "task_routes['parcels.charge']"),
        # A name goes before a pattern, wherever it stands.
        ({"parcels.*": "mail", "parcels.charge": "gateway"}, "gateway", "task_routes['parcels.charge']"),
        ({"*.ch*": "mail", "parcels.*": "gateway"}, "mail", "task_routes['*.ch*']"),
        (
            {re.compile(r"parcels\.(charge|refund)$"): "mail"},
            "mail",
            r"task_routes[re.compile(r'parcels\.(charge|refund)$')]",
        ),
        (({"other.*": "mail"}, {"parcels.charge": "gateway"}), "gateway", "task_routes['parcels.charge']"),
        (([("parcels.*", {"queue": "mail"})],), "mail", "task_routes['parcels.*']"),
        ({"parcels.charge": {"routing_key": "x", "exchange": "y"}}, None, "task_routes['parcels.charge']"),
    ],
)
def test_where_a_task_goes_is_where_celery_sends_it(routes: Any, queue: str | None, where: str) -> None:
    app = shop(DECLARED, task_routes=routes)
    found = goes(app, app.tasks["parcels.charge"])
    assert (found.queue, found.where) == (queue, where)
    sent = app.amqp.router.route({}, "parcels.charge", (7,), {})
    assert queue is None or sent["queue"].name == queue


def test_a_function_is_named_and_not_called() -> None:
    app = shop(DECLARED, task_routes=(by_name, {"parcels.*": "gateway"}))
    found = goes(app, app.tasks["parcels.charge"])
    assert found.queue == "gateway"
    assert found.functions == (f"the function {__name__}.by_name of task_routes",)
    assert app.amqp.router.route({}, "parcels.charge", (7,), {})["queue"].name == "mail"


SAYS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"task_routes": {"parcels.*": "gatway"}},
        ["task_routes['parcels.*'] leads to the queue 'gatway', which is not declared (did you mean 'gateway'?)"],
    ),
    ({"task_routes": {"nobodys.task": {"queue": "mial"}}}, ["task_routes['nobodys.task']", "did you mean 'mail'?"]),
    (
        {"task_routes": {re.compile("x"): "zzz"}},
        ["task_routes[re.compile(r'x')]", "(declared: default, gateway, mail)"],
    ),
    ({"mails_queue": "mial"}, ["option queue of task parcels.mail leads to the queue 'mial'", "did you mean 'mail'?"]),
    (
        {"beat_schedule": {"nightly": {"task": "parcels.mail", "schedule": 60.0, "options": {"queue": "mial"}}}},
        ["beat_schedule['nightly'] leads to the queue 'mial'", "did you mean 'mail'?"],
    ),
    (
        {"task_default_queue": "celery"},
        ["task_default_queue, for want of a route of ", " leads to the queue 'celery', which is not declared"],
    ),
    ({"task_routes": {"a": "aaa", "b": "bbb"}}, ["'aaa'", "; task_routes['b'] leads to the queue 'bbb'"]),
]


@pytest.mark.parametrize(("options", "texts"), SAYS)
def test_what_leads_to_an_undeclared_queue_is_named_with_the_nearest(options: dict[str, Any], texts: list[str]) -> None:
    app = shop(DECLARED, **options)
    with pytest.raises(UndeclaredQueue) as raised:
        app.check_routes()
    for text in texts:
        assert text in str(raised.value)
    assert "task_create_missing_queues = True" in str(raised.value)
    assert isinstance(raised.value, SettingsError)


@pytest.mark.parametrize(("options", "texts"), SAYS)
def test_celerys_defaults_only_warn(options: dict[str, Any], texts: list[str]) -> None:
    app = shop(DECLARED, defaults="celery", **options)
    with pytest.warns(CeleriacWarning, match=re.escape(texts[0])):
        app.check_routes()


@pytest.mark.parametrize("options", [options for options, _ in SAYS])
def test_where_missing_queues_are_to_be_made_any_name_will_do(options: dict[str, Any]) -> None:
    for defaults in ("safe", "celery"):
        shop(DECLARED, defaults=defaults, task_create_missing_queues=True, **options).check_routes()
    shop(None, **options).check_routes()


def test_what_is_declared_passes() -> None:
    shop(DECLARED, mails_queue="mail", task_routes={"parcels.*": "gateway"}).check_routes()
    shop([Queue("default"), Queue("long.name", alias="short")], task_routes={"parcels.*": "short"}).check_routes()
    # Where a task without a route goes, only the function knows.
    shop(DECLARED, task_default_queue="celery", task_routes=(by_name,)).check_routes()


def test_a_call_to_an_undeclared_queue_raises_with_the_nearest() -> None:
    app = shop(DECLARED)
    with pytest.raises(UndeclaredQueue, match="did you mean 'mail'"):
        app.tasks["parcels.charge"].apply_async((7,), queue="mial")
    with pytest.raises(QueueNotFound):
        app.send_task("parcels.charge", (7,), queue="mial")


def test_what_a_worker_is_told_to_consume_must_be_declared() -> None:
    app = shop(DECLARED)
    check_selected(app, ["mail", "gateway"])
    with pytest.raises(UndeclaredQueue, match=r"-Q leads to the queue 'mial'.*did you mean 'mail'"):
        check_selected(app, ["gateway", "mial"])
    check_selected(shop(None), ["anything"])


def test_a_key_of_a_queues_limit_must_be_had_by_each_of_its_tasks() -> None:
    limited = Queue("pay", limits=[Concurrency(2, key="customer:{customer_id}")])
    shop([Queue("default"), limited], task_routes={"parcels.charge": "pay"}).check_routes()
    app = shop([Queue("default"), limited], task_routes={"parcels.*": "pay"})
    with pytest.raises(QueueOptionError, match=r"queue pay, option limits: for task parcels.mail.*\{customer_id\}"):
        app.check_routes()
