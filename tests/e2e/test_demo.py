"""The demo as a user runs it, with fewer orders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def demo(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_lost_and_nothing_charged_twice(tmp_path: Path) -> None:
    kept = tmp_path / "verdict.json"
    done = demo(N="40", JSON=str(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(kept.read_text(encoding="utf-8"))
    assert verdict["accepted"] == 40
    assert (verdict["lost"], verdict["charged_twice"], verdict["failed_unseen"]) == (0, 0, 0)
    assert verdict["confirmed"] + verdict["declined"] + verdict["dead_lettered"] == 40
    assert "kill -9" in done.stdout
    assert "the gateway stood still for 8 s; its circuit was " in done.stdout
    assert 20 <= verdict["paid_at_kill"] <= 40
    assert 0 < verdict["recovery_seconds"] <= verdict["seconds_after_kill"]
    assert len(verdict["dead_letters"]) == verdict["dead_lettered"]
    reading = verdict["reading"]
    assert len(reading["reasons"]) == sum(reading["rejected"].values()) > 0
    for kind, count in reading["rejected"].items():
        assert f"{kind:<34}{count:>8}" in done.stdout
    assert "nightly report:" in done.stdout
    assert_the_report_was_blocked_and_resumed(verdict, done.stdout)


def assert_the_report_was_blocked_and_resumed(verdict: dict[str, Any], printed: str) -> None:
    night = verdict["nightly_report"]
    assert night["states"] == ["blocked", "succeeded"]
    shown = printed.partition(f"$ celery -A app.core.celery workflow show {night['workflow']}\n")[2]
    drawn, resumed, after = shown.partition(f"$ celery -A app.core.celery workflow resume {night['workflow']}\n")
    assert resumed
    size = verdict["report_steps"]
    assert f"nightly report of {night['day']}  blocked  {size - 2} of {size} done" in drawn
    assert re.search(
        r"✗ app.tasks.reports.mail_report  dead letter, \S+\n +│\n +‖ app.tasks.reports.close_day  blocked", drawn
    )
    assert f"`celery -A app.core.celery workflow resume {night['workflow']}` redrives" in drawn
    assert f"1 dead letter of nightly report of {night['day']} redriven" in after
    assert "its workflow has succeeded within " in after
    found = {name: verdict[f"report_{name}"] for name in ("mails", "figures_wrong", "steps_missing", "steps_repeated")}
    assert found == {"mails": 1, "figures_wrong": 0, "steps_missing": 0, "steps_repeated": 0}
    # The figures of at least one country, compiled, mailed, and the day closed.
    assert size >= 4


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"N": "many"}, "N=many"),
        ({"SEED": "x"}, "SEED=x"),
        ({"ORDERS": "nowhere.csv"}, "nowhere.csv"),
        ({"JSON": "nowhere/verdict.json"}, "JSON=nowhere"),
        ({"STOCK": "1", "CELERIAC_REDIS_URL": "redis://127.0.0.1:1/0"}, "no Redis at 127.0.0.1"),
    ],
)
def test_bad_input_is_one_line(env: dict[str, str], why: str) -> None:
    done = demo(**env)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
