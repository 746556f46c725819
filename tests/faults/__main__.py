"""``python -m tests.faults``: run the matrix, a line for each cell, and print the table. Exits with 1 when a cell is red.

Environment: FAULTS=short (the default) or full; SEED=, printed otherwise; BROKERS=sqlite,postgresql; ONLY=, a part of the
faults' names.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

from tests.faults import table
from tests.faults.brokers import BROKERS
from tests.faults.cell import SIZES
from tests.faults.injections import FAULTS, Fault
from tests.faults.matrix import Outcome, run_matrix

#: Offenders told of on the terminal; the folder's report has them all.
TOLD = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--keep", action="store_true", help=f"keep the results, and write them into {table.PAGE.name}")
    arguments = parser.parse_args()
    environment = os.environ
    size, seed = environment.get("FAULTS") or "short", environment.get("SEED") or str(random.randrange(1_000_000))
    brokers = _chosen(environment.get("BROKERS"), list(BROKERS), "BROKERS")
    (size,) = _chosen(size, list(SIZES), "FAULTS")
    only = environment.get("ONLY") or ""
    faults = [fault for fault in FAULTS if only in fault.name]
    command = f"make faults FAULTS={size} SEED={seed} BROKERS={','.join(brokers)}" + (f' ONLY="{only}"' if only else "")
    _say(command)
    outcomes = _run(brokers, faults, int(seed), size)
    columns: dict[str, dict[str, Any]] = {name: {} for name in brokers}
    for outcome in outcomes:
        columns[outcome.broker][outcome.fault] = table.kept(outcome)
    if arguments.keep:
        table.keep(columns, command, {name: BROKERS[name].rests_on for name in brokers}, part=bool(only))
    _say(f"\n{table.table(columns)}\n\n{table.LEGEND}\n{table.totals(columns)}")
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _chosen(given: str | None, known: Sequence[str], variable: str) -> list[str]:
    chosen = given.split(",") if given else list(known)
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise SystemExit(f"{variable}: {', '.join(unknown)} is not among {', '.join(known)}")
    return chosen


def _run(brokers: Sequence[str], faults: Sequence[type[Fault]], seed: int, size: str) -> list[Outcome]:
    outcomes = []
    for outcome in run_matrix([BROKERS[name] for name in brokers], faults, seed, SIZES[size]):
        outcomes.append(outcome)
        _say(f"{outcome.broker:12} {outcome.fault:48} {table.text(table.kept(outcome))} ({outcome.seconds:.0f} s)")
        _tell(outcome)
    return outcomes


def _tell(outcome: Outcome) -> None:
    """Whom a red cell complains of, and where it is all written."""
    if outcome.good:
        return
    entries = [entry for entries in outcome.verdict.zeros.values() for entry in entries] if outcome.verdict else []
    for line in [*entries[:TOLD], *outcome.error.splitlines()[:TOLD]]:
        _say(f"    {line}")
    _say(f"    every task's story: {outcome.folder}/report.txt, beside all journals and logs")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
