"""What was sent as a canvas, as a thing: looked at, waited for, drawn, resumed and cancelled."""

from celeriac.workflow.room import Workflows
from celeriac.workflow.status import WorkflowStatus

__all__ = ["WorkflowStatus", "Workflows"]
