"""Servers in containers, where a Docker engine answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.services.service import Running, Service, Unavailable, answers_in_time, shown

COMPOSE = ["docker", "compose", "--project-name", "celeriac", "--file", str(Path(__file__).with_name("compose.yml"))]
#: Seconds: an engine that is there answers at once; an image may have to be fetched.
ASKING, STARTING = 10, 300


def start(service: Service) -> Running:
    if shutil.which("docker") is None:
        raise Unavailable("there is no docker")
    _run(["docker", "info"], ASKING, "no Docker engine answers")
    _run([*COMPOSE, "up", "--detach", "--wait", service.name], STARTING, "docker compose could not start it")
    address = _run([*COMPOSE, "port", service.name, str(service.port)], ASKING, "docker compose knows no port of it")
    host, _, port = address.strip().rpartition(":")
    url = service.url(host, int(port))
    if not answers_in_time(service, url):
        raise Unavailable(f"its container does not answer at {shown(url)}")
    return Running(url, "docker compose", compose=True)


def stop(service: Service) -> bool:
    command = [*COMPOSE, "rm", "--stop", "--force", "--volumes", service.name]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _run(command: list[str], seconds: int, problem: str) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        last = (str(error.stderr or "").strip().splitlines() or [""])[-1]
        raise Unavailable(f"{problem} ({last})" if last else problem) from error
    return done.stdout
