"""celeriac's pytest plugin: the fixtures ``celeriac_kit``, ``celeriac_app`` and ``celeriac_move_clock``.

It is loaded in every project in whose environment celeriac is, and so imports nothing of it before a test asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celeriac.testing import Kit


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("celeriac_app", "the app that celeriac_kit tests, as module:name", default="")


@pytest.fixture
def celeriac_app(request: pytest.FixtureRequest) -> Any:
    """The app under test: what ``celeriac_app`` names in pytest's configuration; override it to give another."""
    named = request.config.getini("celeriac_app")
    if not named:
        pytest.fail(
            "which app is to be tested? Write `celeriac_app = shop:app` into pytest's configuration, or a fixture "
            "named celeriac_app that returns it",
            pytrace=False,
        )
    from celery.utils.imports import symbol_by_name  # noqa: PLC0415  # see above

    return symbol_by_name(named)


@pytest.fixture
def celeriac_move_clock() -> Callable[[float], object] | None:
    """Moves Python's own clock forward by so many seconds, where the kit's is to take it along; override it to give one."""
    return None


@pytest.fixture
def celeriac_kit(celeriac_app: Any, celeriac_move_clock: Callable[[float], object] | None) -> Iterator[Kit]:
    """The app on a store of the test's own: nothing runs before ``celeriac_kit.drain()``."""
    from celeriac.testing import Kit  # noqa: PLC0415  # see above

    with Kit(celeriac_app, move=celeriac_move_clock) as kit:
        yield kit
