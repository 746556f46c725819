"""The pytest plugin, as a project uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli

import celeriac.testing  # noqa: F401  # once, and not in each run within this process, which forgets what it has imported

SHOP = """
from celeriac import Celery
app = Celery("{name}", broker="redis+streams://127.0.0.1:1/0")
@app.task
def ship(order):
    if order < 0:
        raise ValueError("no such order")
    return order
"""
TESTS = """
from {name} import ship

def test_first(celeriac_kit):
    assert ship.delay(7).get() == 7
    celeriac_kit.assert_published(ship, times=1)

def test_second(celeriac_kit):
    celeriac_kit.assert_not_published()
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> str:
    """The name of a module with an app, which no other test has imported."""
    name = f"{pytester.path.name.replace('-', '_')}_shop"
    pytester.syspathinsert()
    pytester.makepyfile(**{name: SHOP.format(name=name)})
    return name


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "pytest_celeriac", "-p", "no:cacheprovider", *options)


def test_the_app_is_named_in_the_configuration(pytester: pytest.Pytester, shop: str) -> None:
    pytester.makeini(f"[pytest]\nceleriac_app = {shop}:app\n")
    pytester.makepyfile(TESTS.format(name=shop))
    run(pytester).assert_outcomes(passed=2)


def test_the_app_is_given_by_a_fixture(pytester: pytest.Pytester, shop: str) -> None:
    pytester.makeconftest(
        f"import pytest\nfrom {shop} import app\n@pytest.fixture\ndef celeriac_app():\n    return app\n"
        "@pytest.fixture\ndef celeriac_move_clock():\n    return None\n"
    )
    pytester.makepyfile(TESTS.format(name=shop))
    run(pytester).assert_outcomes(passed=2)


def test_which_app_is_asked_for(pytester: pytest.Pytester, shop: str) -> None:
    pytester.makepyfile(TESTS.format(name=shop))
    result = run(pytester)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*Write `celeriac_app = shop:app` into pytest's configuration*"])


def test_a_failing_task_is_shown_where_it_failed(pytester: pytest.Pytester, shop: str) -> None:
    pytester.makeini(f"[pytest]\nceleriac_app = {shop}:app\n")
    pytester.makepyfile(
        f"from {shop} import ship\n"
        "def test_it(celeriac_kit):\n"
        "    ship.delay(-1)\n"
        "    celeriac_kit.drain(raising=True)\n"
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ['*raise ValueError("no such order")', f"E*TaskFailed: {shop}.ship*ValueError: no such order"]
    )


def test_the_plugin_is_found_and_costs_nothing() -> None:
    """pytest loads it in every project in whose environment celeriac is."""
    project = tomli.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"pytest_celeriac": "pytest_celeriac"}
    program = (
        "import sys, pytest, pytest_celeriac\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('celery', 'kombu', 'celeriac')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_else_needs_pytest() -> None:
    program = (
        "import sys\nsys.modules['pytest'] = None\n"
        "import celeriac, celeriac.cli.dead\n"
        "print([name for name in sys.modules if name.startswith('celeriac.testing')])\n"
        "import celeriac.testing\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
