"""Tells a process that another one opened a different file under the same relative URL."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)


def warn_of_another(name: str, url: str, path: Path) -> None:
    """Tell of a live process of the app that opened this URL, where it is a relative one, in another folder."""
    other = None if url.startswith("sqlite:////") else elsewhere(name, url, path)
    if other:
        logger.warning(
            "%s means %s here, but %s elsewhere: what is published in one is never seen in the other. "
            "Write an absolute path in the URL: sqlite:///%s",
            url,
            path,
            other,
            path,
        )


def elsewhere(name: str, url: str, path: Path) -> str | None:
    """Where a live process of the app opened this relative URL, if that is another file.

    The first to come leaves its answer in the user's temporary folder; whoever
    finds a live one with another path is told both.
    """
    note = _note(name, url)
    known = _read(note)
    if known and known["path"] != str(path) and _alive(known["pid"]) and known["pid"] != os.getpid():
        return f"{known['path']} (process {known['pid']}, started in {known['folder']})"
    if not known or not _alive(known["pid"]):
        _write(note, {"path": str(path), "pid": os.getpid(), "folder": str(Path.cwd())})
    return None


def _note(name: str, url: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"celeriac-{os.getuid() if hasattr(os, 'getuid') else 0}"
    return folder / (hashlib.blake2b(f"{name}\0{url}".encode(), digest_size=12).hexdigest() + ".json")


def _read(note: Path) -> dict[str, str | int] | None:
    with suppress(OSError, ValueError):
        if hasattr(os, "getuid") and note.parent.stat().st_uid != os.getuid():
            return None  # somebody else's folder under our name
        found = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("pid"), int):
            return found
    return None


def _write(note: Path, answer: dict[str, str | int]) -> None:
    with suppress(OSError):  # a hint, not a duty
        note.parent.mkdir(mode=0o700, exist_ok=True)
        note.write_text(json.dumps(answer), encoding="utf-8")


def _alive(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
