"""The matrix as a table, fault × broker; from what was kept of its runs, so that a column can be run alone."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.faults.injections import FAULTS
from tests.faults.matrix import Outcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "fault-matrix.md"
RESULTS = Path(__file__).with_name("results.json")
_BLOCK = re.compile(r"(<!-- matrix -->\n).*?(<!-- /matrix -->)", re.DOTALL)
#: The columns that must be zero, in the order in which a cell shows them.
ZEROS = ("lost", "never ended", "effects > 1", "chord bodies ≠ 1", "innocents buried", "over a limit")
LEGEND = (
    "accepted · lost, never ended, effects > 1, chord bodies settled ≠ 1, innocents buried, over a limit · "
    "runs repeated, plain effects repeated · recovery p99"
)

Cells = Mapping[str, Mapping[str, Any]]


def kept(outcome: Outcome) -> dict[str, Any]:
    """A cell as it is kept."""
    if outcome.verdict is None:
        return {"error": outcome.error} if outcome.error else {"reason": outcome.reason}
    verdict = outcome.verdict
    return {
        "accepted": verdict.accepted,
        "zeros": {name: len(entries) for name, entries in verdict.zeros.items()},
        "repeated": verdict.repeated,
        "plain_repeated": verdict.plain_repeated,
        "recovery": verdict.recovery,
        "injected": verdict.injected,
        "took_part": verdict.took_part,
    }


def text(found: Mapping[str, Any]) -> str:
    """A cell as it is shown."""
    if "reason" in found:
        return f"- {found['reason']}"
    if "error" in found:
        return f"**RED**: {found['error'].splitlines()[0]}"
    zeros = found["zeros"]
    figures = " ".join(str(zeros.get(name, "-")) for name in ZEROS)  # not all was counted from the beginning
    if any(zeros.values()):
        figures = "**RED** " + ", ".join(f"{count} {name}" for name, count in zeros.items() if count)
    recovery = "-" if found["recovery"] is None else f"{found['recovery']:.1f} s"
    return f"{found['accepted']:,} · {figures} · {found['repeated']}, {found['plain_repeated']} · {recovery}"


def table(columns: Mapping[str, Cells]) -> str:
    """Faults down, brokers across."""
    known = [fault.name for fault in FAULTS if any(fault.name in cells for cells in columns.values())]
    lines = [_row("fault", columns), "|---|" + "---|" * len(columns)]
    lines += [
        _row(name, [text(cells[name]) if name in cells else "not run" for cells in columns.values()]) for name in known
    ]
    return "\n".join(lines)


def _row(first: str, others: Iterable[str]) -> str:
    return "| " + " | ".join([first, *others]) + " |"


def totals(columns: Mapping[str, Cells]) -> str:
    """What all the cells come to."""
    ran = [found for cells in columns.values() for found in cells.values() if "zeros" in found]
    accepted, injected = (sum(found[name] for found in ran) for name in ("accepted", "injected"))
    parts: Counter[str] = Counter()
    for found in ran:
        parts.update(found.get("took_part", {}))
    beside = "".join(f"{count:,} {name}, " for name, count in parts.items() if count)
    bad = sum(any(found["zeros"].values()) for found in ran)
    bad += sum("error" in found for cells in columns.values() for found in cells.values())
    return f"{len(ran)} cells, {accepted:,} tasks accepted, {injected:,} faults injected, {beside}{bad} cells red"


# -- what is kept, and the page


def machine() -> str:
    """What it ran on, and how much that had to do in the last quarter of an hour."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    system = f"Linux {platform.release()}, Python {platform.python_version()}, Celery {version('celery')}"
    return f"{os.cpu_count()} × {cpu}, {system}, load average {os.getloadavg()[2]:.0f}"


def keep(columns: Mapping[str, Cells], command: str, rests_on: Mapping[str, str], *, part: bool = False) -> None:
    """Put these columns in the place of earlier ones, or a ``part`` of their cells into them; and all into the page."""
    found = read()
    run = {"command": command, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    for name, cells in columns.items():
        if part and name in found:
            merged = found[name]["cells"] | {fault: {**cell, "run": run} for fault, cell in cells.items()}
            found[name]["rests_on"] = rests_on[name]
            found[name]["cells"] = {fault.name: merged[fault.name] for fault in FAULTS if fault.name in merged}
        else:
            found[name] = {**run, "rests_on": rests_on[name], "cells": cells}
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def read() -> dict[str, Any]:
    """What was kept, by broker."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def filled(page: str) -> str:
    """The page with its block as the kept results have it."""
    found = read()
    columns = {name: column["cells"] for name, column in found.items()}
    lines = [table(columns), "", f"In all {totals(columns)}.", "", "What the zeros of a column rest on:", ""]
    lines += [f"- **{name}**: {column['rests_on']}." for name, column in found.items()]
    lines += ["", *_runs(found)]
    block = "\n".join(lines)
    return _BLOCK.sub(lambda match: f"{match[1]}{block}\n{match[2]}", page)


def _runs(found: Mapping[str, Any]) -> Sequence[str]:
    """By which commands the columns were made, and the cells that were run again by themselves."""
    runs: dict[tuple[str, str, str], list[str]] = {}
    for name, column in found.items():
        runs.setdefault(_run(column), []).append(name)
        for fault, cell in column["cells"].items():
            if "run" in cell:
                runs.setdefault(_run(cell["run"]), []).append(f"{name}, *{fault}*")
    return [f"{', '.join(names)}: `{command}` on {where}, {date}." for (command, where, date), names in runs.items()]


def _run(facts: Mapping[str, str]) -> tuple[str, str, str]:
    return facts["command"], facts["machine"], facts["date"]
