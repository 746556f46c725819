"""Queueing and deaths on PostgreSQL: the tests of the embedded store, on the other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.faults.test_kills import *  # noqa: F403  # every test there is
from tests.integration.keeping import Keep
from tests.integration.sites import PostgresSite, Site
from tests.integration.test_queueing import *  # noqa: F403  # every test there is


@pytest.fixture
def site(tmp_path: Path, postgres_url: str, keep: Keep) -> Site:
    """A schema of the test's own; its workers die with it."""
    return keep(PostgresSite(tmp_path, postgres_url))
