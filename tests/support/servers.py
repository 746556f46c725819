"""The servers that `make services` found or started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ServerMissing(Exception):
    """There is no such server; the text says why."""


def server_url(variable: str, environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> str:
    """The URL of a server, from the environment or, failing that, from what `make services` wrote.

    Raises:
        ServerMissing: neither names one.
    """
    written = _written(root / ".services" / "env")
    url = environment.get(variable) or written.get(variable)
    if url:
        return url
    reason = written.get(f"{variable}_MISSING", "`make services` has not run")
    raise ServerMissing(f"{variable} is not known: {reason}")


def _written(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in pairs}
