"""The rows of the matrix, in its order."""

from __future__ import annotations

from tests.faults.injections import answers, messages, processes, servers
from tests.faults.injections.base import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS: tuple[type[Fault], ...] = (
    processes.Nothing,
    processes.ClientKilled,
    processes.WorkerKilled,
    processes.WorkerKilledClaiming,
    processes.ChildKilled,
    processes.ChildDiesBefore,
    processes.ChildDiesInBody,
    processes.ChildDiesAfterBody,
    processes.ChildDiesSettling,
    processes.ChildDiesSettled,
    processes.WorkerStopped,
    servers.ServerKilled,
    servers.ServerRestarted,
    servers.ConnectionsCut,
    servers.BlackHole,
    servers.AnswersSwallowed,
    answers.ClaimLost,
    answers.RenewalLost,
    answers.SettleLost,
    answers.PublishLost,
    answers.PublishInBodyLost,
    answers.Locked,
    answers.ReadOnly,
    answers.DiskFull,
    processes.Deploys,
    processes.DeploysAtOnce,
    messages.ClockStepped,
    processes.ChildrenReplaced,
    messages.BadMessages,
    processes.Poison,
)
