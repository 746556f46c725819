from __future__ import annotations

import enum
import hashlib
import inspect
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from celeriac.core.idempotency import KeyTemplate, arguments_digest, time_to_live
from celeriac.core.templates import MOST_CHARACTERS
from celeriac.errors import ArgumentError, OptionError

TASK = "shop.charge"
dumps: Callable[..., str] = kombu_json.dumps
loads: Callable[[str], Any] = kombu_json.loads


def charge(order_id: int, country: str = "DE", *extra: int, note: str | None = None, **more: object) -> None: ...


def pair(a: object, b: object) -> None: ...


SIGNATURE = inspect.signature(charge)
PAIR = inspect.signature(pair)


def key(template: Any, *args: Any, **kwargs: Any) -> str:
    return KeyTemplate(TASK, template, SIGNATURE).render(args, kwargs)


class Status(enum.Enum):
    PAID = "paid"


class Country(str, enum.Enum):
    DE = "de"


# --- templates ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "args", "kwargs", "expected"),
    [
        ("charge:{order_id}", (7,), {}, "charge:7"),
        ("charge:{order_id}", (), {"order_id": 7}, "charge:7"),
        ("{order_id}", ("A-7",), {}, "A-7"),
        ("{order_id}:{country}", (7,), {}, "7:DE"),
        ("{order_id}:{country}", (7, "FR"), {}, "7:FR"),
        ("{order_id}:{note}", (7,), {"note": "x"}, "7:x"),
        ("nightly", (7,), {}, "nightly"),
        ("{{{order_id}}}", (7,), {}, "{7}"),
        ("a{{b{order_id}c}}d", (7,), {}, "a{b7c}d"),
        ("{order_id}/{order_id}", (7,), {}, "7/7"),
    ],
)
def test_template(template: str, args: tuple[Any, ...], kwargs: dict[str, Any], expected: str) -> None:
    assert key(template, *args, **kwargs) == expected


MOMENT = datetime(2026, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (1.5, "1.5"),
        (Decimal("9.90"), "9.90"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 2, 3), "2026-02-03"),
        (time(4, 5), "04:05:00"),
        (MOMENT, "2026-02-03T04:05:00+00:00"),
        (Status.PAID, "paid"),
        (Country.DE, "de"),
    ],
)
def test_a_value_has_the_same_text_before_and_after_the_broker(value: object, text: str) -> None:
    assert key("{order_id}", value) == text
    if value is not Status.PAID:
        assert key("{order_id}", loads(dumps(value))) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "charge:{order_idd}",
            r"field \{order_idd\}: the task has no parameter of that name.*did you mean \{order_id\}\?",
        ),
        ("charge:{nothing}", r"field \{nothing\}: .*it has: order_id, country, extra, note, more"),
        ("charge:{more}", r"field \{more\}: \*\*more.* takes any number of values"),
        ("charge:{extra}", r"field \{extra\}: \*extra.* takes any number of values"),
        ("charge:{}", "the plain name of a parameter"),
        ("charge:{0}", "the plain name of a parameter"),
        ("charge:{order_id.pk}", r"field \{order_id.pk\}: a field is the plain name of a parameter"),
        ("charge:{order_id[0]}", r"field \{order_id\[0\]\}: a field is the plain name"),
        ("charge:{order_id!r}", r"field \{order_id!r\}: a field is the plain name"),
        ("charge:{order_id:>9}", r"field \{order_id:>9\}: a field is the plain name"),
        ("charge:{order_id", "expected '}'"),
        ("charge:order_id}", "Single '}'"),
        ("{order_id}{country}", r"nothing parts \{order_id\} from \{country\}"),
        ("{order_id}and{country}", r"nothing parts \{order_id\} from \{country\}"),
        ("{order_id}%{country}", r"nothing parts \{order_id\} from \{country\}"),
        ("", "the template is empty"),
        ("  ", "the template is empty"),
        (b"charge", "neither a template"),
        (7, "neither a template"),
    ],
)
def test_a_template_that_cannot_work_is_told_at_declaration(template: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        KeyTemplate(TASK, template, SIGNATURE)
    assert str(caught.value).startswith(f"task {TASK}, option idempotency_key: ")
    if isinstance(template, str) and template.strip():
        assert repr(template) in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_value_makes_no_key(value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"task {TASK}, argument order_id: it is {value!r}"):
        key("charge:{order_id}", value)
    with pytest.raises(ArgumentError, match="argument note: it is None"):
        key("{order_id}:{note}", 7)


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), b"x", (1,), SimpleNamespace(pk=1)])
def test_a_value_without_stable_text_makes_no_key(value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"argument order_id: a {type(value).__name__} makes no stable text"):
        key("charge:{order_id}", value)


def test_a_call_that_does_not_fit_is_an_argument_error_and_a_type_error() -> None:
    with pytest.raises(ArgumentError, match=r"does not fit the signature.*missing a required argument: 'order_id'"):
        key("charge:{order_id}")
    with pytest.raises(TypeError):
        arguments_digest(TASK, SIGNATURE, (), {})


def test_a_long_key_keeps_its_beginning_and_a_hash_of_the_whole() -> None:
    long, other = key("{order_id}", "x" * 600), key("{order_id}", "x" * 599 + "y")
    assert len(long) == len(other) == MOST_CHARACTERS
    assert long != other
    assert long.startswith("x" * 400)
    fits = "x" * MOST_CHARACTERS
    assert key("{order_id}", fits) == fits
    assert len(key(lambda order_id: order_id, "x" * 600)) == MOST_CHARACTERS


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip) | st.text(":-%2A5D/ b", min_size=1).filter(
    str.strip
)


@pytest.mark.parametrize("template", ["{a}:{b}", "{b}:{a}", "x{a} - {b}", "{a}and-or{b}/", "{a}::{b}", "%{a}.%.{b}%"])
@given(first=st.tuples(texts, texts), second=st.tuples(texts, texts))
def test_different_texts_make_different_keys(template: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    make = KeyTemplate(TASK, template, PAIR)
    keys = [make.render(values, {}) for values in (first, second)]
    assert (keys[0] == keys[1]) is (first == second) or len(keys[0]) == MOST_CHARACTERS


def test_a_separator_inside_a_text_moves_no_border() -> None:
    make = KeyTemplate(TASK, "{a}:{b}", PAIR)
    assert make.render(("x:y", "z"), {}) == "x%3Ay:z"
    assert make.render(("x", "y:z"), {}) == "x:y%3Az"
    assert make.render(("50%", 1), {}) == "50%25:1"
    assert KeyTemplate(TASK, "{a}-{b}", PAIR).render((date(2026, 2, 3), "x"), {}) == "2026-02-03-x"


# --- functions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda order_id: f"c:{order_id}", "c:7"),
        (lambda country, order_id: f"{country}:{order_id}", "DE:7"),
        (lambda *, order_id, **_: f"c:{order_id}", "c:7"),
        (lambda **arguments: ",".join(arguments), "order_id,country,extra,note,more"),
        (lambda order_id, prefix="p": f"{prefix}:{order_id}", "p:7"),
        (lambda extra, more: f"{extra}{more}", "(){}"),
        (lambda: "same", "same"),
    ],
)
def test_function(function: Callable[..., str], expected: str) -> None:
    assert key(function, 7) == expected


async def later(order_id: int) -> str:
    return ""


def positional(order_id: int, /) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda orderid: "x", "wants 'orderid', which is no parameter of the task; those are: order_id, country"),
        (later, "function later: it is async"),
        (positional, "function positional: 'order_id' is positional-only"),
        (dict.fromkeys, "its signature cannot be read|positional-only"),
    ],
)
def test_a_function_that_cannot_work_is_told_at_declaration(function: Callable[..., str], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        KeyTemplate(TASK, function, SIGNATURE)


@pytest.mark.parametrize("answer", [None, "", " ", 7, b"x"])
def test_a_function_must_return_text(answer: object) -> None:
    with pytest.raises(ArgumentError, match=r"the function .*lambda.* returned .*; a key is a text"):
        key(lambda order_id: answer, 7)


def test_a_function_that_raises_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"raised KeyError: 'NO_SUCH'") as caught:
        key(lambda order_id: os.environ["NO_SUCH"], 7)
    assert isinstance(caught.value.__cause__, KeyError)


# --- digests -----------------------------------------------------------------


def digest(*args: Any, **kwargs: Any) -> str:
    return arguments_digest(TASK, SIGNATURE, args, kwargs, kombu_json.JSONEncoder().default)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (digest(1), digest(order_id=1)),
        (digest(1), digest(1, "DE")),
        (digest(1, note=None), digest(order_id=1, country="DE")),
        (digest(1, b=2, a=1), digest(1, a=1, b=2)),
        (digest({"a": 1, "b": 2}), digest({"b": 2, "a": 1})),
        (digest((1, 2)), digest([1, 2])),
        (digest({1: "x", None: "y"}), digest({"1": "x", "null": "y"})),
        (digest(Country.DE), digest("de")),
        (digest(Status.PAID), digest("paid")),
        (digest(bytearray(b"x")), digest(b"x")),
    ],
)
def test_the_same_call_has_the_same_digest(one: str, other: str) -> None:
    assert one == other


def test_different_calls_have_different_digests() -> None:
    values = [
        1,
        "1",
        1.5,
        True,
        None,
        [],
        {},
        "",
        [1],
        [[1]],
        {"1": 1},
        b"1",
        date(2026, 1, 1),
        datetime(2026, 1, 1),
        time(1),
    ]
    values += [
        Decimal(1),
        Decimal("1.0"),
        uuid.UUID(int=1),
        {1, 2},
        "2026-01-01",
        MOMENT,
        MOMENT + timedelta(seconds=1),
    ]
    assert len({digest(value) for value in values}) == len(values)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
plain = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
)


def marked(value: object) -> bool:
    """Whether it holds what kombu would take for its own mark."""
    if isinstance(value, Mapping):
        return value.keys() == {"__type__", "__value__"} or any(map(marked, value.values()))
    return isinstance(value, (list, tuple)) and any(map(marked, value))


@given(plain.filter(lambda value: not marked(value)))
def test_a_digest_survives_the_broker(value: object) -> None:
    assert digest(loads(dumps(value))) == digest(value)


@given(plain, plain)
def test_a_digest_tells_values_apart(one: object, other: object) -> None:
    same = dumps(one, default_kwargs={"sort_keys": True}) == kombu_json.dumps(other, default_kwargs={"sort_keys": True})
    assert (digest(one) == digest(other)) is same


class Money:
    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.tags = {"a", "b", "c"}


class WithJson:
    def __json__(self) -> dict[str, int]:
        return {"a": 1}


def test_objects_under_pickle() -> None:
    assert digest(Money(1)) == digest(Money(1)) != digest(Money(2))
    assert digest(WithJson()) == digest({"a": 1})
    assert digest(len) != digest(charge)
    assert digest(Money) != digest(Money(1))


def test_registered_types_go_by_their_encoder() -> None:
    money = Money(3)
    encoded = arguments_digest(TASK, PAIR, (money, 1), {}, lambda value: value.amount)
    assert encoded == arguments_digest(TASK, PAIR, (3, 1), {})


def test_pydantic_models_are_what_they_are_sent_as() -> None:
    pydantic = pytest.importorskip("pydantic")
    order = pydantic.create_model("Order", pk=(int, ...))(pk=1)
    assert digest(order) == digest({"pk": 1})


def test_digests_are_the_same_in_every_process() -> None:
    """String hashing, and with it the order of a set, differs from process to process."""
    program = (
        "import inspect\nfrom celeriac.core.idempotency import arguments_digest as digest\n"
        "def task(a, b=2): ...\n"
        "print(digest('t', inspect.signature(task), ({'x', 'y', 'z', ('q',)},), {}))"
    )
    found = {_run(program, seed) for seed in ("1", "2", "3")}
    assert len(found) == 1


def _run(program: str, seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_recorded_digest_of_a_call() -> None:
    """Digests are kept in the store, so a new version must compute the same."""
    text = '{"country":"DE","extra":[],"more":{},"note":null,"order_id":7}'
    assert digest(7) == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("value", [sys.stdout, threading.Lock(), numbers(), {(1, 2): 3}])
def test_what_has_no_stable_form_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"task {TASK}, argument \(all\): no digest can be made"):
        digest(value)


def test_circles_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ArgumentError, match="inside itself"):
        digest(circle)


def test_sequences_of_arguments_may_be_lists() -> None:
    args: Sequence[int] = [7]
    assert arguments_digest(TASK, SIGNATURE, args, {}) == digest(7)


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, None), (0, 0.0), (90, 90.0), (1.5, 1.5), (timedelta(minutes=2), 120.0)]
)
def test_a_time_to_live_in_seconds(given: object, seconds: float | None) -> None:
    assert time_to_live(TASK, given) == seconds


@pytest.mark.parametrize("given", [-1, timedelta(seconds=-1), True, "60", float("inf"), float("nan")])
def test_what_is_no_time_to_live(given: object) -> None:
    with pytest.raises(OptionError, match=rf"task {TASK}, option idempotency_ttl: .* is no number of seconds"):
        time_to_live(TASK, given)
