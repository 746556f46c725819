"""Circuit breakers: documents that are written only by who has read what they replace."""

from __future__ import annotations

import time

from celeriac.store.relational.part import Part


class CircuitsPart(Part):
    """The circuits' side of the store."""

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        with self.database.reading() as raw:
            row: tuple[int, str] | None = raw.run("circuits.read", (name,)).fetchone()
        return row or (0, None)

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        with self.database.writing() as raw:
            if version == 0:
                return raw.run("circuits.make", (name, time.time_ns(), state)).rowcount == 1
            return raw.run("circuits.write", (name, version, state)).rowcount == 1

    def forget_circuit(self, name: str) -> bool:
        with self.database.writing() as raw:
            return raw.run("circuits.forget", (name,)).rowcount == 1

    def all_circuits(self) -> dict[str, str]:
        with self.database.reading() as raw:
            return dict(raw.run("circuits.all").fetchall())
