"""Who sits at the desk, for the log."""

from __future__ import annotations

import getpass
import os
import socket


def whoami() -> str:
    """``user@host``; the number of a user without a name."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container, often
        user = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"
