"""Ports for servers under test."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A loopback TCP port that is free now. Another process may take it, so whoever serves on it must be ready to fail."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
