"""The behaviour that every store and every transport must show; run by pytest.

A store passes with ``class TestMine(StoreConformance)`` in a module whose
fixture ``harness`` yields a ``StoreHarness``.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from celeriac.testing.conformance.chains import ChainsConformance  # noqa: E402  # asserts are rewritten first
from celeriac.testing.conformance.checkpoints import CheckpointsConformance  # noqa: E402  # asserts are rewritten first
from celeriac.testing.conformance.chords import ChordConformance  # noqa: E402
from celeriac.testing.conformance.circuits import CircuitsConformance  # noqa: E402
from celeriac.testing.conformance.deadletters import DeadLetterConformance  # noqa: E402
from celeriac.testing.conformance.desk import DeskConformance  # noqa: E402
from celeriac.testing.conformance.failures import FailureConformance  # noqa: E402
from celeriac.testing.conformance.fanout import FanoutConformance  # noqa: E402
from celeriac.testing.conformance.generations import GenerationConformance  # noqa: E402
from celeriac.testing.conformance.harness import StoreHarness, run_check  # noqa: E402
from celeriac.testing.conformance.keys import KeyConformance  # noqa: E402
from celeriac.testing.conformance.lanes import LanesConformance  # noqa: E402
from celeriac.testing.conformance.leases import LeaseConformance  # noqa: E402
from celeriac.testing.conformance.ledger import LedgerConformance  # noqa: E402
from celeriac.testing.conformance.limits import LimitsConformance  # noqa: E402
from celeriac.testing.conformance.outbox import OutboxConformance  # noqa: E402
from celeriac.testing.conformance.pauses import PausesConformance  # noqa: E402
from celeriac.testing.conformance.queue import QueueConformance  # noqa: E402
from celeriac.testing.conformance.rates import RatesConformance  # noqa: E402
from celeriac.testing.conformance.redriving import RedrivingConformance  # noqa: E402
from celeriac.testing.conformance.settling import SettleConformance  # noqa: E402
from celeriac.testing.conformance.waiting import WaitingConformance  # noqa: E402
from celeriac.testing.conformance.workflows import WorkflowsConformance  # noqa: E402

__all__ = ["StoreConformance", "StoreHarness", "run_check"]


class StoreConformance(
    QueueConformance,
    LeaseConformance,
    GenerationConformance,
    SettleConformance,
    KeyConformance,
    DeadLetterConformance,
    RedrivingConformance,
    DeskConformance,
    FailureConformance,
    ChordConformance,
    LedgerConformance,
    FanoutConformance,
    OutboxConformance,
    LimitsConformance,
    RatesConformance,
    LanesConformance,
    CircuitsConformance,
    PausesConformance,
    CheckpointsConformance,
    WaitingConformance,
    WorkflowsConformance,
    ChainsConformance,
):
    """All that is asked of a store."""
