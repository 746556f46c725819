"""Two processes that mean different files by one relative URL are told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from celeriac.store.whereabouts import elsewhere

URL = "sqlite:///shop.db"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.store.whereabouts.tempfile.gettempdir", lambda: str(tmp_path))


def from_another_process(tmp_path: Path, path: str) -> subprocess.Popen[bytes]:
    """A live process that has opened ``path`` under the same URL."""
    code = (
        "import sys, tempfile; tempfile.gettempdir = lambda: sys.argv[1]\n"
        "from pathlib import Path; from celeriac.store.whereabouts import elsewhere\n"
        "elsewhere('shop', 'sqlite:///shop.db', Path(sys.argv[2])); print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(  # our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_another_file_under_the_same_url_is_named(tmp_path: Path) -> None:
    with from_another_process(tmp_path, "/srv/worker/shop.db") as process:
        try:
            answer = elsewhere("shop", URL, Path("/srv/web/shop.db"))
        finally:
            process.communicate()
    assert answer is not None
    assert "/srv/worker/shop.db" in answer
    assert str(process.pid) in answer


def test_the_same_file_is_fine(tmp_path: Path) -> None:
    with from_another_process(tmp_path, "/srv/shop.db") as process:
        try:
            assert elsewhere("shop", URL, Path("/srv/shop.db")) is None
        finally:
            process.communicate()


def test_the_dead_are_forgotten(tmp_path: Path) -> None:
    with from_another_process(tmp_path, "/srv/worker/shop.db") as process:
        process.communicate()
    assert elsewhere("shop", URL, Path("/srv/web/shop.db")) is None


def test_another_app_is_another_matter(tmp_path: Path) -> None:
    with from_another_process(tmp_path, "/srv/worker/shop.db") as process:
        try:
            assert elsewhere("bank", URL, Path("/srv/web/shop.db")) is None
        finally:
            process.communicate()
