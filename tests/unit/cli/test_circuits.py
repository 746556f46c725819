"""`celery -A app circuits`: what it shows, and who did what."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celeriac import Celery, Circuit, CircuitOpen
from celeriac.cli.circuits import circuits

GATEWAY = Circuit("gateway", minimum=2, open_for=30)
Invoke = Callable[..., Result]


def _body() -> None: ...


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    made = Celery("shop", broker=f"sqlite:///{tmp_path}/shop.db")
    made.task(shared=False, name="pay", circuits=[GATEWAY, Circuit("mail server")])(_body)
    yield made
    made.store.close()


@pytest.fixture
def invoke(app: Celery) -> Invoke:
    def run(*arguments: str, on: Any = app) -> Result:
        return CliRunner().invoke(circuits, arguments, obj=CLIContext(app=on, no_color=True, workdir=None))

    return run


def fail(app: Celery, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError), app.circuit("gateway"):
            raise ConnectionError


def test_what_is_declared_is_listed_before_anything_happens(app: Celery, invoke: Invoke) -> None:
    lines = invoke("list").output.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["CIRCUIT", "STATE"], ["gateway", "closed"], ["mail", "server"]]
    assert lines[3:] == ["", f"2 circuits in {app.store.location}."]


def test_an_open_one_says_when_it_probes(app: Celery, invoke: Invoke) -> None:
    fail(app, 2)
    [line] = [line for line in invoke("list").output.splitlines() if line.startswith("gateway")]
    assert line.split()[1] == "open"
    assert " in 30s" in line or " in 29s" in line


def test_by_hand_it_says_who_and_why(app: Celery, invoke: Invoke) -> None:
    done = invoke("open", "gateway", "--note", "the gateway\nmoves")
    assert done.output == "gateway is open until it is closed by hand; tasks that depend on it are put off.\n"
    with pytest.raises(CircuitOpen), Celery("shop", broker=app.conf.broker_url).circuit(GATEWAY):
        raise AssertionError("it was let through")
    [line] = [line for line in invoke("list").output.splitlines() if line.startswith("gateway")]
    assert "when closed" in line
    assert "(the gateway moves)" in line
    assert "@" in line
    assert invoke("close", "gateway").output == "gateway is closed; what was put off comes back in its time.\n"
    with Celery("shop", broker=app.conf.broker_url).circuit(GATEWAY):
        pass


def test_by_hand_the_answer_is_all_that_is_said(app: Celery, invoke: Invoke, caplog: pytest.LogCaptureFixture) -> None:
    """Python writes warnings of a program that configures no logging to the terminal, beside the answer."""
    caplog.set_level(logging.INFO)
    invoke("open", "gateway", "--note", "it moves")
    invoke("close", "gateway")
    said = [(record.levelname, record.message.partition(", by ")[0]) for record in caplog.records]
    assert said == [("INFO", "circuit 'gateway' is open"), ("INFO", "circuit 'gateway' is closed")]
    fail(app, 2)
    assert caplog.records[-1].levelname == "WARNING"


def test_for_a_time(invoke: Invoke) -> None:
    said = invoke("open", "gateway", "--for", "15m").output
    assert re.fullmatch(
        r"gateway is open until probes succeed, from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC on; tasks that depend on it are put off\.\n",
        said,
    )
    assert " in 15m" in invoke("list").output or " in 14m 5" in invoke("list").output
    [found] = [one for one in json.loads(invoke("list", "--json").output) if one["name"] == "gateway"]
    assert found["state"] == "open"
    assert found["until"] > found["since"]


def test_in_json_all_is_told(app: Celery, invoke: Invoke) -> None:
    fail(app, 2)
    [gateway, mail] = json.loads(invoke("list", "--json").output)
    assert (gateway["name"], gateway["state"], gateway["by"], gateway["declared"]) == ("gateway", "open", None, True)
    assert (mail["name"], mail["state"], mail["since"]) == ("mail server", "closed", None)


def test_a_name_nobody_knows(invoke: Invoke) -> None:
    done = invoke("open", "gatway")
    assert done.exit_code == 1
    assert (
        "circuit 'gatway': no task of this app that is known here declares it; did you mean 'gateway'?" in done.output
    )


def test_one_that_is_no_longer_declared_can_be_closed_and_forgotten(app: Celery, invoke: Invoke) -> None:
    fail(app, 2)
    later = Celery("shop", broker=app.conf.broker_url)
    assert "gateway" in invoke("list", on=later).output
    assert invoke("close", "gateway", on=later).exit_code == 0
    assert invoke("reset", "gateway", on=later).output == "gateway is forgotten.\n"
    assert invoke("reset", "gateway", on=later).output == "Nothing was known of gateway.\n"
    assert "There are none" in invoke("list", on=later).output


def test_without_a_ledger_there_is_nothing_to_list(invoke: Invoke) -> None:
    done = invoke("list", on=Celery("shop", broker="memory://"))
    assert done.exit_code == 2
    assert "each worker process has its own" in done.output
