"""What one cell of the matrix does: read by its workers and its client, from a file named in their environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Names the file in the environment; and the URL, where a process has a way of its own to the broker.
PLAN, URL = "FAULTS_PLAN", "FAULTS_URL"

#: Seconds a vanished worker's messages stay its own, between renewals, and between looks at what is left over.
SETTINGS = {"celeriac_lease_seconds": 3.0, "celeriac_renew_seconds": 0.5, "celeriac_maintenance_seconds": 0.5}


@dataclass(frozen=True)
class Wrap:
    """An injection inside a process: one call in so many of a store's method, for so many times in the whole cell.

    ``how`` is ``answer-lost`` (it is done, and the caller sees a time-out) or where the process dies: ``die-before``,
    ``die-during``, ``die-after``. ``where`` is ``worker``, ``child`` (a prefork pool's process) or ``client``.
    """

    method: str
    how: str
    one_in: int = 10
    most: int = 6
    where: str = "worker"


@dataclass(frozen=True)
class Plan:
    """Everything the processes of a cell must know.

    ``units`` are published at least, and more until the file ``stop`` is there, ``pace`` seconds apart; ``kinds`` are
    weights.
    """

    folder: str
    url: str
    seed: int
    units: int
    pace: float
    kinds: dict[str, int]
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    wraps: list[Wrap] = field(default_factory=list)
    #: One body in so many takes long enough to be marked as started.
    long_one_in: float = 8.0
    #: A guard that is taken out of this build.
    build: str = ""

    @property
    def path(self) -> Path:
        return Path(self.folder, "plan.json")

    def write(self) -> None:
        self.path.write_text(json.dumps(asdict(self)))


def read_plan() -> Plan:
    """The plan of this process."""
    found = json.loads(Path(os.environ[PLAN]).read_text())
    found["url"] = os.environ.get(URL, found["url"])
    found["wraps"] = [Wrap(**wrap) for wrap in found["wraps"]]
    return Plan(**found)
