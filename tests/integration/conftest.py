from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.keeping import Keep
from tests.integration.sites import Site


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Iterator[Keep]:
    """Ask for it last: what a site stands on must be there when it is closed."""
    with Keep(request.node) as keep:
        yield keep


@pytest.fixture
def site(tmp_path: Path, keep: Keep) -> Site:
    """A store of the test's own; its workers die with it."""
    return keep(Site(tmp_path))


@pytest.fixture
def lasting_site(tmp_path: Path, keep: Keep) -> Site:
    """The same, with leases that outlast any test: what waits for one to run out is lost here."""
    return keep(Site(tmp_path, celeriac_lease_seconds=600, celeriac_renew_seconds=200))
