"""Into a store of celeriac's: the broker, or the ledger beside it."""

from __future__ import annotations

from typing import Any

from celeriac.core.transactions import open_for
from celeriac.publish.amqp import Outgoing
from celeriac.publish.batch import Batch, batch_for
from celeriac.publish.chains import NOTHING, Keeping, without_rest
from celeriac.publish.ids import new_id
from celeriac.publish.outgoing import settling, tell_of_live
from celeriac.publish.stamp import stamp_of
from celeriac.publish.ways.call import Call, Preparing


class ToStore(Preparing):
    """Into the store that is the broker: at once, or in the transaction or settlement that takes it along."""

    def send(self, call: Call) -> Any:
        """As Celery's; of a task whose key another one holds, that one's result."""
        self.check(call)
        return self._give(Outgoing(self.app.store), call)

    def _give(self, sent: Outgoing, call: Call) -> Any:
        self.add_headers(call)
        task_id = call.options.get("task_id") or new_id()
        call.options, keeping = self._without_rest(sent, call, str(task_id))
        return self._give_keeping(sent, call, task_id, keeping)

    def _give_keeping(self, sent: Outgoing, call: Call, task_id: Any, keeping: Keeping) -> Any:
        sent.keeping = keeping
        try:
            result = self.build(call, task_id=task_id, producer=sent)
        finally:
            sent.keeping = NOTHING
        published = sent.published
        if published is not None and published.duplicate_of:
            return self.app.AsyncResult(published.duplicate_of)
        if published is not None and published.live:
            tell_of_live(call.name, published)
        return result

    def _without_rest(self, sent: Outgoing, call: Call, task_id: str) -> tuple[dict[str, Any], Keeping]:
        bodies = sent.bodies if isinstance(sent, Batch) else None
        return without_rest(call.options, task_id, keeps=self._keeps(task_id), bodies=bodies)

    def _keeps(self, task_id: str) -> bool:
        """Whether the message goes into the store itself, as what is kept with it must."""
        attempt = settling()
        if attempt is not None:
            # A retry takes the place of its message, and what that one has kept.
            return not (attempt.retrying and attempt.task_id == task_id)
        return self.app.local_outbox is None and open_for(self.app.store) is None


class ToLedger(ToStore):
    """Into the ledger beside a broker, from where a worker relays it."""

    def send(self, call: Call) -> Any:
        self.check(call)
        self.hold(call)
        store = self.app.store
        return self._give(Outgoing(store, stamp_of(store)), call)


class ToBatch(ToStore):
    """Into the batch that is open: cast from a mould, or built by Celery where it is no plain message."""

    def send(self, call: Call) -> Any:
        self.check(call)
        batch = batch_for(self.app)
        assert batch is not None, "chosen because there is one"
        task_id = call.options.get("task_id")
        call.options, keeping = self._without_rest(batch, call, str(task_id))
        result = None
        if keeping == NOTHING:
            result = batch.send_short(call.name, call.task, call.args, call.kwargs, call.options)
        if result is not None:
            return self._trailed(result, call)
        self.hold(call)
        self.add_headers(call)
        return self._give_keeping(batch, call, task_id or new_id(), keeping)

    def _trailed(self, result: Any, call: Call) -> Any:
        parent = self.app.current_worker_task
        if parent and call.options.get("add_to_parent", True):
            parent.add_trail(result)
        return result
