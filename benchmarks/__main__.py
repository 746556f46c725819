"""``python -m benchmarks [question …] [--runs 5] [--tasks 20000] [--quick]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

from benchmarks import (
    backlog,
    bulk,
    churn,
    circuits,
    desk,
    drain,
    harness,
    idle,
    latency,
    limits,
    memory,
    publish,
    servers,
    workflows,
)
from benchmarks.configs import CONFIGS
from benchmarks.harness import Figure

Measure = Callable[[int, int, harness.Say], list[Figure]]
QUESTIONS: dict[str, Measure] = {
    "publish": publish.measure,
    "bulk": bulk.measure,
    "drain-solo": partial(drain.measure, "solo"),
    "drain-threads": partial(drain.measure, "threads"),
    "drain-prefork": partial(drain.measure, "prefork 2"),
    "latency": latency.measure,
    "idle": idle.measure,
    "memory": memory.measure,
    "backlog": backlog.measure,
    "servers": servers.measure,
    "churn": churn.measure,
    "limits": limits.measure,
    "circuits": circuits.measure,
    "desk": desk.measure,
    "workflows": workflows.measure,
}
RESULTS = Path(__file__).with_name("results")


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    with closing(redis.Redis.from_url(harness.redis_url())) as client:
        server = client.info("server")["redis_version"]
        saving = client.config_get("save", "appendonly")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": f"{os.cpu_count()} × {cpu}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "celery": version("celery"),
        "sqlite": sqlite3.sqlite_version,
        "redis": f"{server} (save {saving['save'] or 'off'}, appendonly {saving['appendonly']})",
        "date": time.strftime("%Y-%m-%d"),
    }


def say(text: str) -> None:
    """Where it is."""
    print(
        f"\r\033[K{text}" if sys.stderr.isatty() else text,
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


def _verdict(figure: Figure) -> str:
    return figure.bar if figure.met is None else f"{'met' if figure.met else 'NOT met'}: {figure.bar}"


def shown(figure: Figure) -> list[str]:
    """One table row a configuration."""
    rows = []
    for name, values in figure.values.items():
        label = CONFIGS[name].label if name in CONFIGS else name
        ours = name not in ("stock", "tuned")
        verdict = _verdict(figure) if ours else ""
        least, middle = min(values), statistics.median(values)
        rows.append(f"| {figure.question} | {label} | {middle:,.1f} | {least:,.1f} | {figure.unit} | {verdict} |")
    return rows


def table(figures: list[Figure]) -> str:
    """Markdown, for people and for the README."""
    head = ["| question | configuration | median | least | unit | bar |", "|---|---|---:|---:|---|---|"]
    return "\n".join(head + [row for figure in figures for row in shown(figure)])


def command(given: argparse.Namespace) -> str:
    """What a figure is taken with, whichever questions are asked beside its own."""
    return f"python -m benchmarks --runs {given.runs} --tasks {given.tasks}"


def kept_with(kept: Path, asked: dict[str, list[Figure]], how: str) -> dict[str, Any]:
    """All that was measured: of the questions asked now, and what stands there of others, each with its run."""
    now = machine()
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"answers": {}}
    new = {
        name: {"command": how, "date": now["date"], "figures": [vars(figure) for figure in figures]}
        for name, figures in asked.items()
    }
    answers = {**found["answers"], **new}
    return {"machine": now, "answers": {name: answers[name] for name in QUESTIONS if name in answers}}


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], help="all, where none is named")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="one small run, to see that it works")
    given = parser.parse_args()
    if given.quick:
        given.runs, given.tasks = 1, 2000
    asked = {name: QUESTIONS[name](given.runs, given.tasks, say) for name in given.questions or QUESTIONS}
    print("\n" + table([figure for figures in asked.values() for figure in figures]))
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / ("quick.json" if given.quick else "latest.json")
    text = json.dumps(kept_with(kept, asked, command(given)), indent=2)
    kept.write_text(text + "\n", encoding="utf-8")
    print(f"\nkept in {kept}")


if __name__ == "__main__":
    main()
