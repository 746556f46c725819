"""A client: publishes units and keeps a journal of what was accepted. One that was killed is followed by another."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.errors import StoreError
from tests.faults import builds, wrapping
from tests.faults.journal import PUBLISHED, RAN, Counted, lines, note
from tests.faults.load import kind_of
from tests.faults.plan import Plan, read_plan
from tests.faults.tasks import make_app

#: The file that ends a client, once it has published enough.
STOP = "stop"
#: Tasks that may wait before a client waits for the workers; seconds between its looks.
BACKLOG, LOOK = 250, 0.02


class Client:
    """Publishes what the plan says, from where the one before it was."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.app: Any = make_app(plan)
        self._ran = Counted(plan.folder, RAN)
        self._sent = 0

    def run(self) -> None:
        for unit in self._units():
            self._wait_for_the_workers()
            self._sent += publish_noting(self.app, self.plan.folder, unit)
            time.sleep(self.plan.pace)

    def _units(self) -> Iterator[str]:
        """What a predecessor died over and can be repeated; then all others, none twice."""
        known = lines(self.plan.folder, PUBLISHED)
        told = {line["unit"] for line in known if line["what"] != "tries"}
        tried = list(dict.fromkeys(line["unit"] for line in known if line["what"] == "tries"))
        yield from (unit for unit in tried if unit not in told and kind_of(unit).keyed)
        stop = Path(self.plan.folder, STOP)
        for number in count(len(tried)):
            if number >= self.plan.units and stop.exists():
                return
            yield self._unit(number)

    def _unit(self, number: int) -> str:
        kinds = self.plan.kinds
        if number < len(kinds):  # each is there, however small the cell
            return f"{list(kinds)[number]}-{number}"
        (kind,) = random.Random(f"{self.plan.seed}/{number}").choices(list(kinds), list(kinds.values()))
        return f"{kind}-{number}"

    def _wait_for_the_workers(self) -> None:
        while self._sent - self._ran.count() > BACKLOG and not Path(self.plan.folder, STOP).exists():
            time.sleep(LOOK)


def publish_noting(app: Any, folder: str | Path, unit: str) -> int:
    """Publish a unit and note what became of it; returns how many tasks were accepted."""
    note(folder, PUBLISHED, what="tries", unit=unit)
    try:
        ids = kind_of(unit).publish(app, unit)
    except (StoreError, OperationalError) as error:
        note(folder, PUBLISHED, what="unknown", unit=unit, error=f"{type(error).__name__}: {error}")
        return 0
    note(folder, PUBLISHED, what="accepted", unit=unit, ids=ids)
    return len(ids)


def main() -> None:
    plan = read_plan()
    client = Client(plan)
    builds.take_out(plan.build)
    wrapping.install(plan, client.app.store, "client")
    with contextlib.suppress(KeyboardInterrupt):
        client.run()


if __name__ == "__main__":
    main()
