"""Circuit breakers: documents that are written only by who has read what they replace."""

from __future__ import annotations

import time

from celeriac.store.redis.packing import plain, text
from celeriac.store.redis.part import Part


class CircuitsPart(Part):
    """The circuits' side of the store."""

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        found = self.database.call("circuits.read", [plain(name)])
        return (int(found[0]), text(found[1])) if found else (0, None)

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        return bool(self.database.call("circuits.write", [plain(name), version, time.time_ns() // 1000, plain(state)]))

    def forget_circuit(self, name: str) -> bool:
        return bool(self.database.call("circuits.forget", [plain(name)]))

    def all_circuits(self) -> dict[str, str]:
        found = [text(each) for each in self.database.call("circuits.all", [])]
        return dict(sorted(zip(found[::2], found[1::2], strict=True)))
