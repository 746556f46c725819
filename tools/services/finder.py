"""Where a server comes from: the first place that has one."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.services import debian, docker, processes
from tools.services.service import Running, Service, Unavailable, forget, shown

#: apt-get refuses to run twice at a time, and two runs of docker compose meet in their network.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Finder:
    """Finds or starts one server. Each `from_` method is a place to look, and raises `Unavailable` with the reason."""

    service: Service
    #: What the server writes, and the record of it.
    folder: Path
    environment: Mapping[str, str]

    def find(self) -> Running:
        reasons = []
        for place in (self.from_environment, self.from_earlier, self.from_machine, self.from_debian, self.from_docker):
            try:
                return place()
            except Unavailable as reason:
                reasons.append(str(reason))
        raise Unavailable("; ".join(reasons))

    def from_environment(self) -> Running:
        url = self.environment.get(self.service.variable)
        if not url:
            raise Unavailable(f"{self.service.variable} is not set")
        if not self.service.answers(url):
            raise Unavailable(f"nothing answers at {self.service.variable}={shown(url)}")
        return Running(url, self.service.variable)

    def from_earlier(self) -> Running:
        earlier = Running.load(self.folder)
        if earlier is None:
            raise Unavailable("none was started earlier")
        if self.service.answers(earlier.url):
            return earlier
        self.stop()
        raise Unavailable(f"the one started earlier no longer answers at {shown(earlier.url)}")

    def from_machine(self) -> Running:
        program = shutil.which(self.service.program, path=self.service.path(self.environment.get("PATH")))
        if program is None:
            raise Unavailable(f"there is no {self.service.program} on PATH")
        return processes.start(self.service, program, self.folder)

    def from_debian(self) -> Running:
        with _ONE_AT_A_TIME:
            debian.install(self.service.package, self.folder)
        return self.from_machine()

    def from_docker(self) -> Running:
        with _ONE_AT_A_TIME:
            return docker.start(self.service)

    def stop(self) -> bool:
        """End what was started earlier, and forget it; tell whether there was anything to end."""
        earlier = Running.load(self.folder)
        forget(self.folder)
        if earlier is None:
            return False
        return docker.stop(self.service) if earlier.compose else processes.stop(earlier)
