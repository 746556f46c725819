from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ServerMissing, server_url


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".services").mkdir()
    return tmp_path


def _write(root: Path, text: str) -> None:
    (root / ".services" / "env").write_text(text)


def test_the_environment_wins(root: Path) -> None:
    _write(root, "X_URL=x://written\n")
    assert server_url("X_URL", {"X_URL": "x://named"}, root) == "x://named"


def test_then_comes_what_was_written(root: Path) -> None:
    _write(root, "Y_URL=y://other\nX_URL=x://written?a=b\n")
    assert server_url("X_URL", {}, root) == "x://written?a=b"


def test_a_missing_server_is_missing_for_a_reason(root: Path) -> None:
    _write(root, "X_URL_MISSING=no program; no root\n")
    with pytest.raises(ServerMissing, match="X_URL is not known: no program; no root"):
        server_url("X_URL", {}, root)


def test_without_the_file_it_names_the_step_that_was_left_out(root: Path) -> None:
    with pytest.raises(ServerMissing, match="`make services` has not run"):
        server_url("X_URL", {}, root)
