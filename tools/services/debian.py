"""A server's program from Debian's packages, without the service that they would start."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.services.service import Unavailable

#: Debian asks this program before it starts a service.
POLICY = Path("/usr/sbin/policy-rc.d")
FORBIDDEN = "#!/bin/sh\nexit 101\n"


def install(package: str, folder: Path) -> None:
    """Install Debian's `package`.

    Raises:
        Unavailable: not root, no Debian, or it failed.
    """
    if shutil.which("apt-get") is None:
        raise Unavailable("there is no apt-get")
    if os.geteuid() != 0:
        raise Unavailable(f"only root may install it (apt-get install {package})")
    print(f"services: installing Debian's {package}", flush=True)
    log = folder / "apt.log"
    # An old package list may be good enough, so only the installation decides.
    _apt(log, "update")
    with _no_service_starts():
        if _apt(log, "install", "--yes", "--no-install-recommends", package) != 0:
            raise Unavailable(f"apt-get could not install {package}; its output is in {log}")


def _apt(log: Path, *arguments: str) -> int:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with log.open("ab") as output:
        command = ["apt-get", "--quiet", "--option", "Dpkg::Use-Pty=0", *arguments]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
        ).returncode


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """A machine that has a policy keeps it."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text(FORBIDDEN)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
