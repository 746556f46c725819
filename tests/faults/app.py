"""What the workers of the matrix run: its tasks on the cell's broker, with the injections and the build that its plan names."""

from __future__ import annotations

from tests.faults import builds, wrapping
from tests.faults.plan import read_plan
from tests.faults.tasks import make_app

_plan = read_plan()
app = make_app(_plan)
builds.take_out(_plan.build)
wrapping.install(_plan, app.store, "worker")
