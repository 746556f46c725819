"""One file: what may befall it is another process's lock, a disk that is full, and one that became read-only."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tests.faults.brokers.base import CONNECTIONS, DISK, SERVER, Broker, Missing, Place
from tests.support import wait_for

#: The size of a small disk.
SIZE = "48m"
_NO_SERVER = "there is no server: the processes that use the file are the broker"


class File(Place):
    """A store file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = self.folder / "faults.db"
        self.url = f"sqlite:///{self.path}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        raw = sqlite3.connect(self.path, isolation_level=None, timeout=60)
        raw.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            raw.execute("ROLLBACK")
            raw.close()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """As on a disk that the kernel made read-only after an error: for root too, and for who has it open."""
        files = [str(self.path), f"{self.path}-wal"]
        if not _run("chattr", "+i", *files):
            raise Missing("making a file immutable needs root, and a file system that can")
        try:
            yield
        finally:
            _run("chattr", "-i", *files)

    def close(self) -> None:
        """The file is in the cell's folder, and goes with it."""


class SmallDisk(File):
    """A store file on a small disk of its own."""

    def __init__(self, folder: Path) -> None:
        small = folder / "small"
        small.mkdir()
        if not _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(small)):
            raise Missing("mounting a small disk needs root")
        super().__init__(small)

    @contextmanager
    def full(self) -> Iterator[None]:
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        try:
            yield
        finally:
            filler.unlink()

    def close(self) -> None:
        wait_for(lambda: _run("umount", str(self.folder)), 30, f"{self.folder} stays busy")


class SQLite(Broker):
    name = scheme = "sqlite"
    rests_on = (
        "the death of any process (`synchronous=normal`): what the kernel has, no process takes back. A power cut may take "
        "the last commits; `?synchronous=full` keeps them"
    )
    senseless: ClassVar[dict[str, str]] = {SERVER: _NO_SERVER, CONNECTIONS: "a file has no connections"}

    def place(self, folder: Path, need: str) -> File:
        return file_for(folder, need)


def file_for(folder: Path, need: str) -> File:
    """A file to which can be done what a fault needs."""
    return SmallDisk(folder) if need == DISK else File(folder)


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
