"""Start the servers that tests and benchmarks talk to, and stop those again.

`start` takes, for each server, the first of these that answers: the URL in the environment, the one started earlier, a
program on this machine, Debian's package (as root), docker compose. It writes `.services/env` (NAME=value), which the tests
read. What is missing is named with the reasons, and is an error only where CI is set. `stop` ends what `start` began.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tools.services import debian
from tools.services.finder import Finder
from tools.services.postgres import POSTGRES
from tools.services.rabbitmq import RABBITMQ
from tools.services.redis import REDIS
from tools.services.service import Running, Service, Unavailable, shown

FOLDER = Path(__file__).resolve().parents[2] / ".services"
SERVICES: tuple[Service, ...] = (REDIS, POSTGRES, RABBITMQ)
#: Programs that tests need, with the package of each: `ip` and `bridge` make hosts of network namespaces.
PROGRAMS = {"ip": "iproute2", "bridge": "iproute2", "pgbouncer": "pgbouncer"}


def start(services: Sequence[Service], folder: Path, environment: Mapping[str, str]) -> int:
    """Start all services, side by side; return the exit code."""
    with ThreadPoolExecutor(len(services)) as threads:
        found = list(threads.map(lambda service: _found(service, folder / service.name, environment), services))
    values: dict[str, str] = {}
    for service, running in zip(services, found, strict=True):
        if isinstance(running, Unavailable):
            values[f"{service.variable}_MISSING"] = str(running)
            print(f"services: no {service.name}: {running}", file=sys.stderr)
        else:
            values[service.variable] = running.url
            print(f"services: {service.name} at {shown(running.url)} ({running.source})")
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    missing = any(isinstance(running, Unavailable) for running in found)
    return 1 if missing and environment.get("CI") else 0


def install(programs: Mapping[str, str], folder: Path) -> None:
    """Install what is missing where that is possible; the tests that need it say so where it is not."""
    for program, package in programs.items():
        try:
            if shutil.which(program) is None:
                debian.install(package, folder)
        except Unavailable as reason:
            print(f"services: no {program}: {reason}", file=sys.stderr)


def _found(service: Service, folder: Path, environment: Mapping[str, str]) -> Running | Unavailable:
    try:
        return _running(service, folder, environment)
    except Unavailable as reason:
        return reason


def _running(service: Service, folder: Path, environment: Mapping[str, str]) -> Running:
    folder.mkdir(parents=True, exist_ok=True)
    running = Finder(service, folder, environment).find()
    if running.ours:
        running.save(folder)
    return running


def stop(services: Sequence[Service], folder: Path) -> int:
    """Stop what `start` began; a server that the environment named stays as it is. Return the exit code."""
    for service in services:
        if Finder(service, folder / service.name, {}).stop():
            print(f"services: stopped {service.name}")
    (folder / "env").unlink(missing_ok=True)
    return 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One caller at a time: two runs of the tests side by side share a server, where each would start its own."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    if arguments not in (["start"], ["stop"]):
        print("usage: python -m tools.services start|stop", file=sys.stderr)
        return 2
    with _alone(FOLDER):
        if arguments == ["stop"]:
            return stop(SERVICES, FOLDER)
        install(PROGRAMS, FOLDER)
        return start(SERVICES, FOLDER, os.environ)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
