"""What the workers came to, beside what plain Python did."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from celery import states
from celery.result import GroupResult

from celeriac.core.workflow_state import State
from tests.integration.canvases.building import Builder
from tests.integration.canvases.evaluating import Evaluation, has_failed
from tests.integration.canvases.plan import FAILED, Canvas, Step, everything
from tests.integration.canvases.tasks import healed
from tests.integration.tasks import lines

#: Seconds by which the clock of a store, which ledgers go by, may differ from this machine's as it is measured.
CLOCKS_AGREE = 0.1


class Sent:
    """A canvas that was sent, and the journal of what ran for it."""

    def __init__(self, app: Any, canvas: Canvas, journal: str) -> None:
        self.canvas, self._app, self._journal = canvas, app, journal
        self._result = Builder(app, journal).build(canvas).apply_async()
        self._expected = Evaluation(canvas)

    @property
    def value(self) -> Any:
        """As it stands in the ledger now; what waits is its state."""
        return self._value(self._result)

    def _value(self, result: Any) -> Any:
        if isinstance(result, GroupResult):
            return [self._value(one) for one in result.results]
        meta = self._app.backend.get_task_meta(result.id, cache=False)
        if meta["status"] == states.SUCCESS:
            return meta["result"]
        return FAILED if meta["status"] == states.FAILURE else meta["status"]

    def redrive(self) -> list[str]:
        """Heal what fails, and send it again; the ids of what was sent."""
        healed(self._journal).touch()
        failed = {node.node for node in everything(self.canvas) if isinstance(node, Step) and node.how == "fail"}
        ids = {line["id"] for line in self._lines() if line["node"] in failed}
        for task_id in sorted(ids):
            self._app.dead_letters.redrive(task_id)
        return sorted(ids)

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in lines(self._journal)]

    def check(self, *, redriven: bool = False, repeats: bool = False) -> None:
        """The results are plain Python's, and each node settled once.

        Args:
            redriven: what failed at first was healed and sent again.
            repeats: runs died, so that a generation may have run more than once before it settled.

        Raises:
            AssertionError: they are not.
        """
        wanted = Evaluation(self.canvas, healed=True) if redriven else self._expected
        assert _same(self.value, wanted.value), (self.canvas, self.value, wanted.value)
        self._check_runs(Counter(wanted.runs), redriven=redriven, repeats=repeats)
        self._check_ledger()

    def check_workflow(self) -> None:
        """It reads as what it is, where all has succeeded; a single task is none.

        Raises:
            AssertionError: it does not.
        """
        workflow_id = getattr(self._result, "workflow_id", None)
        if workflow_id is not None:
            found = self._app.workflows.get(workflow_id)
            assert found.state is State.SUCCEEDED, (self.canvas, found, found.nodes)

    def _check_runs(self, wanted: Counter[str], *, redriven: bool, repeats: bool) -> None:
        if redriven:  # once to fail, with its error callbacks, and once more
            first = self._expected.runs
            nodes = {node.node for node in everything(self.canvas) if isinstance(node, Step) and node.how == "fail"}
            wanted.update(node for node in nodes if first[node])
            wanted.update({node: count for node, count in first.items() if "!" in node})
        ran: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for line in self._lines():
            ran[line["node"]].append((line["id"], line["generation"]))
        runs = {node: len(set(those)) if repeats else len(those) for node, those in ran.items()}
        perhaps = {node: runs.pop(node) for node in self._expected.perhaps - wanted.keys() if node in runs}
        assert runs == dict(wanted), (self.canvas, Counter(runs) - wanted, wanted - Counter(runs))
        assert set(perhaps.values()) <= {1}, (self.canvas, perhaps)
        # One message each: a follow-up that was sent twice has another id.
        assert all(len({task_id for task_id, _ in those}) == 1 for those in ran.values()), (self.canvas, ran)

    def _check_ledger(self) -> None:
        noted = self._lines()
        records = self._app.store.records(sorted({line["id"] for line in noted}))
        for line in noted:
            record = records[line["id"]]
            assert record.closed, (self.canvas, line, record)
            # What has settled does not begin again.
            later = line["generation"] == record.generation and line["at"] > (record.finished_at or 0) + CLOCKS_AGREE
            assert not later, (self.canvas, line, record)


def _same(found: Any, wanted: Any) -> bool:
    if wanted is FAILED:
        return has_failed(found)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_same, found, wanted))
    return bool(found == wanted)
