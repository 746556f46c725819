"""``celery -A app limits``: what runs and waits under limits, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from celeriac import Celery, Concurrency, FairShare, Rate
from celeriac.cli.limits import allows, limits
from celeriac.core.limits import Rule


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db", set_as_current=False)

    @app.task(
        name="charge", shared=False, limits=[Concurrency(2, key="customer:{customer}"), Rate("100/m", name="API")]
    )
    def charge(customer: str) -> None: ...

    @app.task(name="export", shared=False, limits=FairShare("{tenant}"))
    def export(tenant: str) -> None: ...

    yield app
    app.store.close()


def shown(app: Celery, *arguments: str) -> str:
    result = CliRunner().invoke(limits, arguments, obj=SimpleNamespace(app=app, no_color=True))
    assert result.exit_code == 0, result.output
    return result.output


def test_nothing_in_use_tells_what_is_declared(app: Celery) -> None:
    assert shown(app).splitlines() == [
        "Nothing runs or waits under a limit now.",
        "",
        "DECLARED                                ALLOWS",
        "API                                     100/m",
        "charge concurrency customer:{customer}  2 at once",
        "export fairshare {tenant}               turns",
    ]
    assert "No task declares a limit named 'AIP'" in shown(app, "--name", "AIP")


def test_what_runs_and_waits_the_most_waiting_first(app: Celery) -> None:
    for _ in range(3):
        app.tasks["charge"].delay("7")
    app.tasks["charge"].delay("8")
    app.store.claim(["celery"], 1, owner="worker", lease=30)
    lines = shown(app).splitlines()
    assert lines[0].split() == ["LIMIT", "KEY", "ALLOWS", "RUNNING", "WAITING"]
    assert lines[1].split() == ["API", "-", "100/m", "-", "3"]
    assert [line.split()[-2:] for line in lines[2:4]] in ([["1", "2"], ["0", "1"]], [["0", "3"], ["1", "0"]])
    assert lines[-1] == f"3 limits in use in {app.store.location}."


def test_few_lines_say_how_many_there_are(app: Celery) -> None:
    app.send_tasks(app.tasks["export"].s(str(tenant)) for tenant in range(9))
    assert "9 limits in use" in shown(app, "--most", "2")
    assert "--most 9 shows all" in shown(app, "--most", "2")


def test_for_machines(app: Celery) -> None:
    app.tasks["export"].delay("acme")
    [found] = json.loads(shown(app, "--json"))
    assert found["rule"] == {"slots": None, "every": None, "burst": 1}
    assert (found["name"], found["value"], found["running"], found["waiting"]) == (
        "export fairshare {tenant}",
        "acme",
        None,
        1,
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(slots=3), "3 at once"),
        (Rate("100/m").rule, "100/m"),
        (Rate("2/s").rule, "2/s"),
        (Rate("5/h").rule, "5/h"),
        (Rate("90/m").rule, "90/m"),
        (Rate("3/d").rule, "3/d"),
        (Rule(), "turns"),
        (None, "?"),
    ],
)
def test_numbers_in_words(rule: Any, said: str) -> None:
    assert allows(rule) == said
