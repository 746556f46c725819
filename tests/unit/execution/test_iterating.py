"""What may be gone through, what is said of the rest, and bodies that are called in place."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django
import pytest
import sqlalchemy as sa
from django.conf import settings as django_settings
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from celeriac import Celery
from celeriac.core.message import Lease
from celeriac.errors import CheckpointError, TransactionError
from celeriac.execution.keeping import Kept, reading
from celeriac.execution.snoozing import GiveWay
from celeriac.execution.sources import PAGE, opened
from celeriac.store.tables import ddl
from celeriac.testing import Kit, TaskFailed


def through(source: Any, cursor: Any = None, after: Any = None, session: Any = None) -> list[tuple[Any, Any]]:
    return list(opened("shop.export", source, cursor, after, session))


# -- sources


def test_a_sequence_goes_on_by_position() -> None:
    assert through(("ab",)) == [("ab", 0)]
    assert through(["a", "b", "c"], after=0) == [("b", 1), ("c", 2)]
    assert through(range(5), after=3) == [(4, 4)]
    assert through(["a"], after=7) == [], "it is shorter now"


def test_a_function_is_given_the_cursor() -> None:
    seen: list[Any] = []

    def rows(after: Any) -> list[Any]:
        seen.append(after)
        return [SimpleNamespace(id=3), {"id": 4}]

    assert [cursor for _, cursor in through(rows, "id", 2)] == [3, 4]
    assert [cursor for _, cursor in through(lambda _: [3], lambda row: [row, "a"])] == [[3, "a"]]
    assert [cursor for _, cursor in through(lambda _: [(7, "a"), [8, "b"]], 0)] == [7, 8]
    assert seen == [2]


def test_a_row_of_a_driver_is_asked_by_name() -> None:
    with closing(sqlite3.connect(":memory:")) as raw:
        raw.row_factory = sqlite3.Row
        assert [c for _, c in through(lambda _: raw.execute("SELECT 7 AS id"), "id")] == [7]


def _orders(after: int | None) -> Iterator[Any]:
    yield {"id": 1}


async def _later() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("source", "cursor", "said"),
    [
        (iter([1]), None, "a list_iterator in the middle.*function that makes it, .*rows_after"),
        ((row for row in "ab"), None, r"a generator in the middle.*: iterate\(rows_after, "),
        (
            _orders(None),
            "id",
            r"a generator in the middle.*: iterate\(_orders, .*where _orders\(after\) takes the cursor",
        ),
        ("text", None, "in the middle of a str"),
        ({1, 2}, None, "in the middle of a set"),
        ([1], "id", "leave cursor= out"),
        (lambda _: [1], None, "how is a row found again"),
        (lambda _: [1], 3, r"cursor=3: a row \(int\) has no places"),
        (lambda _: [1], 1.5, "and no float"),
        (lambda _: [1], True, "and no bool"),
        (lambda _: [1], "id", r"a row \(int\) has nothing of that name"),
        (lambda _: [("a", "b")], "id", r"a row \(tuple\) has the places 0 to 1, such as cursor=0"),
        (lambda _: [("a", "b")], 2, r"a row \(tuple\) has the places 0 to 1\. "),
        (lambda _: [{"key": 1, "sum": 2}], "id", r"a row \(dict\) has no such key, and has 'key', 'sum'"),
        (lambda _: None, "id", "gives a NoneType"),
        (lambda _: _later(), "id", "asynchronous iterator"),
    ],
)
def test_what_cannot_be_gone_on_with_is_said(source: Any, cursor: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=f"task shop.export: .*{said}"):
        through(source, cursor)


# -- Django


@pytest.fixture(scope="module")
def rows_of_django() -> Iterator[Any]:
    if not django_settings.configured:
        django_settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        )
        django.setup()
    from django.db import connections, models  # once it is configured
    from django.db.backends.sqlite3.base import DatabaseWrapper  # the same

    class Row(models.Model):  # type: ignore[misc]  # Django has no types here
        code = models.CharField(max_length=20, unique=True)

        class Meta:
            app_label = "iterating"
            ordering = ("-code",)

    mine = DatabaseWrapper({**connections["default"].settings_dict, "NAME": ":memory:"}, "iterating")
    connections["iterating"] = mine
    connections.databases["iterating"] = mine.settings_dict
    with mine.schema_editor() as editor:
        editor.create_model(Row)
    Row.objects.using("iterating").bulk_create(Row(code=f"c{number:05}") for number in range(PAGE + 5))
    yield Row.objects.using("iterating")
    mine.close()


def test_a_queryset_goes_on_by_its_key_page_by_page(rows_of_django: Any) -> None:
    found = through(rows_of_django.all())
    assert [cursor for _, cursor in found] == list(range(1, PAGE + 6))
    assert [row.pk for row, _ in through(rows_of_django.filter(pk__lt=8), after=5)] == [6, 7]


def test_or_by_another_unique_field(rows_of_django: Any) -> None:
    assert [cursor for _, cursor in through(rows_of_django, "code", "c01002")] == ["c01003", "c01004"]
    assert [row for row, _ in through(rows_of_django.values("code"), "code", "c01003")] == [{"code": "c01004"}]


def test_a_queryset_that_cannot_be_gone_on_with_is_refused(rows_of_django: Any) -> None:
    with pytest.raises(CheckpointError, match="sliced"):
        through(rows_of_django.all()[:10])
    with pytest.raises(CheckpointError, match="ordered by -code, and is gone on with by 'pk'"):
        through(rows_of_django.order_by("-code"))
    with pytest.raises(CheckpointError, match="name of a field"):
        through(rows_of_django.all(), lambda row: row.pk)
    with pytest.raises(CheckpointError, match=r"leave out reverse\(\)"):
        through(rows_of_django.order_by("pk").reverse())
    with pytest.raises(CheckpointError, match=r"made by union\(\)"):
        through(rows_of_django.filter(pk__lt=3).union(rows_of_django.filter(pk__gt=7)))


# -- SQLAlchemy


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]


@pytest.fixture
def session() -> Iterator[Session]:
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Order(id=number, code=f"c{number}") for number in range(1, PAGE + 6))
        session.commit()
        yield session
    engine.dispose()


def test_a_select_goes_on_by_its_column_page_by_page(session: Session) -> None:
    found = through(sa.select(Order), Order.id, session=session)
    assert [cursor for _, cursor in found] == list(range(1, PAGE + 6))
    assert isinstance(found[0][0], Order)
    rows = through(sa.select(Order.id, Order.code).where(Order.id < 8), Order.id, 5, session)
    assert [(row.code, cursor) for row, cursor in rows] == [("c6", 6), ("c7", 7)]


def test_a_select_that_cannot_be_gone_on_with_is_refused(session: Session) -> None:
    for statement, cursor, by, said in (
        (sa.select(Order), Order.id, None, "session=session"),
        (sa.select(Order), "id", session, "cursor=Order.id"),
        (sa.select(Order).order_by(Order.code), Order.id, session, "an order, a limit or an offset"),
        (sa.select(Order).limit(3), Order.id, session, "an order, a limit or an offset"),
        (sa.select(Order).offset(3), Order.id, session, "an order, a limit or an offset"),
        (sa.select(Order).fetch(3), Order.id, session, "an order, a limit or an offset"),
        (sa.select(Order.code), Order.id, session, "among its columns"),
    ):
        with pytest.raises(CheckpointError, match=said):
            through(statement, cursor, session=by)


# -- in place


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/a.db", set_as_current=False)
    yield app
    app.close()


def declare(app: Celery, **options: Any) -> Any:
    @app.task(bind=True, name="shop.export", shared=False, **options)
    def export(self: Any, items: list[int]) -> list[int]:
        self.progress(0, len(items), "begun")
        rows = self.iterate(items)
        found = []
        for item in rows:
            found.append(item)
            rows.save()
        return found

    app.finalize()
    return app.tasks["shop.export"]


def test_called_eagerly_or_as_a_function_it_goes_through_all(app: Celery) -> None:
    task = declare(app)
    assert task.apply(([1, 2, 3],)).get() == [1, 2, 3]
    assert task([1, 2, 3]) == [1, 2, 3]
    assert not Path(app.conf.broker_url.removeprefix("sqlite:///")).exists(), "no store was opened for it"


def test_any_row_without_a_cursor_is_refused_since_the_next_run_would_begin_anew(app: Celery) -> None:
    seen: list[Any] = []

    @app.task(bind=True, name="shop.rows", shared=False)
    def go(self: Any) -> None:
        rows = [{"id": 1}, {"id": 2}, {"id": None}, {"id": 4}]
        seen.extend(row["id"] for row in self.iterate(lambda after: rows[after or 0 :], cursor="id", every=1e-6))

    with Kit(app) as kit:
        sent = go.delay()
        (run,) = kit.drain()
        assert (run.outcome, type(run.error)) == ("dead-lettered", CheckpointError)
        assert "the cursor of a row is None" in str(run.error)
        known = app.store.checkpoints([sent.id])[sent.id].cursors
        assert known is not None
        assert (seen, json.loads(known)["rows"]["cursor"]) == ([1, 2], 2)


def test_an_id_that_is_published_again_begins_anew_though_its_last_run_went_through_nothing(app: Celery) -> None:
    seen: list[Any] = []

    @app.task(bind=True, name="shop.sometimes", shared=False)
    def go(self: Any) -> None:
        if len(seen) != 1:
            seen.extend(self.iterate(range(3), give_way=1e-9))
        else:
            seen.append("nothing")

    with Kit(app) as kit:
        for _ in range(2):
            go.apply_async(task_id="nightly")
            kit.drain()
    assert seen == [0, "nothing", 0, 1, 2]


def test_without_bind_it_says_what_to_write(app: Celery) -> None:
    @app.task(name="shop.unbound", shared=False)
    def unbound() -> None: ...

    app.finalize()
    task = app.tasks["shop.unbound"]
    for method in (task.iterate, task.progress):
        with pytest.raises(CheckpointError, match=r"declare it with bind=True"):
            method(1)


def test_without_a_store_it_says_what_to_set() -> None:
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    task = declare(app)
    task.request_stack.push(SimpleNamespace(id="a", called_directly=False, is_eager=False))
    try:
        with pytest.raises(
            CheckpointError, match=r"broker memory://.* is no store of celeriac's. Put a ledger beside it"
        ):
            task.run([1])
    finally:
        task.request_stack.pop()
        app.close()


@pytest.mark.parametrize("done", ["3", None, True, float("nan")])
def test_progress_is_in_numbers(app: Celery, done: Any) -> None:
    task = declare(app)
    with pytest.raises(ValueError, match="are numbers"):
        task.progress(done)
    if done is not None:
        with pytest.raises(ValueError, match="are numbers"):
            task.progress(1, done)


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"give_way": -1}, {"give_way": "5m"}, {"every": True}, {"give_way": timedelta(0)}]
)
def test_seconds_are_over_nothing(app: Celery, options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="seconds, or a timedelta, over 0"):
        declare(app).iterate([1], **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"total": "many"}, r"iterate\(total='many'\): how many rows there are, a number"),
        ({"total": float("nan")}, "how many rows there are, a number"),
        ({"step": 2026}, r"iterate\(step=2026\): a name, as a text"),  # JSON would make it one, and not find it again
        ({"step": None}, "a name, as a text"),
    ],
)
def test_what_would_be_lost_on_the_way_to_the_store_is_refused(app: Celery, options: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        declare(app).iterate([1], **options)


def test_seconds_may_be_a_timedelta(app: Celery) -> None:
    @app.task(bind=True, name="shop.export", shared=False)
    def export(self: Any) -> int:
        rows = 0
        for _ in self.iterate(range(5), every=timedelta(seconds=1), give_way=timedelta(microseconds=1)):
            rows += 1
        return rows

    app.finalize()
    with Kit(app) as kit:
        export.delay()
        assert [run.outcome for run in kit.drain()] == ["snoozed"] * 5 + ["completed"]


@pytest.mark.parametrize("in_a_run", [True, False])
def test_rows_are_gone_through_once(app: Celery, in_a_run: bool) -> None:
    """Otherwise the second loop would find none, and its work would be taken for done."""

    @app.task(bind=True, name="shop.export", shared=False)
    def export(self: Any) -> None:
        rows = self.iterate([1, 2, 3])
        assert list(rows) == [1, 2, 3]
        list(rows)

    app.finalize()
    said = "for one loop, and this is the second"
    if not in_a_run:
        with pytest.raises(CheckpointError, match=said):
            export()
        return
    with Kit(app) as kit:
        export.delay()
        with pytest.raises(TaskFailed, match=said):
            kit.drain(raising=True)


def test_a_coroutine_is_told_of_the_plain_for(app: Celery) -> None:
    async def body() -> None:
        async for _ in declare(app).iterate([1]):
            pass

    with pytest.raises(CheckpointError, match="by a plain `for`, in a coroutine too"):
        asyncio.run(body())


def test_one_in_a_row_of_another_is_told_what_will_do(app: Celery) -> None:
    @app.task(bind=True, name="shop.export", shared=False)
    def export(self: Any) -> None:
        for _ in self.iterate(range(3), step="days"):
            for _ in self.iterate(range(3), step="orders"):
                pass

    app.finalize()
    with Kit(app) as kit:
        export.delay()
        with pytest.raises(TaskFailed, match=r"step 'orders'.*row of another iterate\(\) a plain for will do"):
            kit.drain(raising=True)


# -- in a database of the application's


class Run:
    """One run of a task, as ``Kept`` looks at it."""

    name, key_template = "shop.export", None

    def __init__(self, connection: Any, token: int) -> None:
        self.request = SimpleNamespace(id="a", args=(), kwargs={})
        self.kept = Kept(self, "rows", connection, Lease(7, token))


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = str(tmp_path / f"{uuid.uuid4().hex}.db")
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(ddl("effect", "sqlite"))
    return path


def test_a_cursor_is_kept_with_the_transaction_or_not_at_all(shop: str) -> None:
    moment = datetime(2027, 1, 4, 9, 30, tzinfo=timezone.utc)
    with closing(sqlite3.connect(shop)) as raw:
        run = Run(raw, 1)
        assert (run.kept.cursor, run.kept.done) == (None, 0)
        assert not raw.in_transaction, "what was read leaves no transaction behind"
        run.kept.save(moment, 3)
        raw.commit()
        run.kept.save("lost", 4)
        raw.rollback()
        run.kept.save("kept", 5)  # a row that failed is no reason to stop
        raw.commit()
        again = Run(raw, 2)
        assert (again.kept.cursor, again.kept.done) == ("kept", 5)


def test_of_two_runs_the_first_to_commit_goes_on(shop: str) -> None:
    with closing(sqlite3.connect(shop)) as one, closing(sqlite3.connect(shop)) as other:
        stalled, heir = Run(one, 1), Run(other, 2)
        heir.kept.save(1, 1)
        other.commit()
        with pytest.raises(GiveWay):
            stalled.kept.save(1, 1)
        one.rollback()
        heir.kept.save(2, 2)
        other.commit()


def test_also_where_the_stalled_one_was_the_first(shop: str) -> None:
    with closing(sqlite3.connect(shop)) as one, closing(sqlite3.connect(shop)) as other:
        stalled, heir = Run(one, 1), Run(other, 2)
        stalled.kept.save(1, 1)
        one.commit()
        with pytest.raises(GiveWay):
            heir.kept.save(1, 1)
        other.rollback()
        next_one = Run(other, 3)
        assert next_one.kept.cursor == 1
        next_one.kept.save(2, 2)
        other.commit()
        with pytest.raises(GiveWay):
            stalled.kept.save(2, 2)


def test_a_session_of_sqlalchemy_begins_its_own_transaction_after_the_look(shop: str) -> None:
    engine = sa.create_engine(f"sqlite:///{shop}")
    with Session(engine) as session:
        run = Run(session, 1)
        with session.begin():
            run.kept.save(7, 1)
    with Session(engine) as session:
        assert Run(session, 2).kept.cursor == 7
    engine.dispose()


def test_without_the_table_it_says_what_makes_it(tmp_path: Path) -> None:
    said = pytest.raises(TransactionError, match=r"iterate\(connection=...\) of task shop.export .*effects sql")
    with closing(sqlite3.connect(tmp_path / "bare.db")) as raw, said:
        Run(raw, 1)


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("shop", "'shop' is no alias of a Django database; there are .*default"),
        ("sqlite:///shop.db", "a URL is not what to pass"),
        (None, "and there is no Django; pass the connection itself"),
    ],
)
def test_a_text_that_is_no_alias_is_told_of(
    rows_of_django: Any, monkeypatch: pytest.MonkeyPatch, alias: str | None, said: str
) -> None:
    if alias is None:
        monkeypatch.setitem(sys.modules, "django.db", None)
    with pytest.raises(TransactionError, match=said), reading(alias or "shop"):
        pass
