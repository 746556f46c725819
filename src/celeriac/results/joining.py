"""What a chord is joined by, and where that is written: its size, its members' results, the tree of its header."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.result import GroupResult, result_from_tuple

from celeriac.core.attempt import ChordPart
from celeriac.core.current import current, is_unjoined
from celeriac.core.message import WORKFLOW_HEADER, Join
from celeriac.core.transactions import open_for
from celeriac.core.workflow import Membership
from celeriac.core.workflow_members import end_of_many
from celeriac.results import chords
from celeriac.store.protocols import Within


class Joining:
    """Chords and the trees of groups; ``backend`` encodes what is kept of them, and has the store."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._last_body: tuple[Any, Any] = (None, None)

    # -- where they are sent

    def _within(self) -> Within | None:
        """The transaction that sends its members, where one is open."""
        within: Within | None = open_for(self._backend.store)
        return within

    def save_group(self, group_id: str, result: Any) -> None:
        """Keep the tree of a group's results."""
        within = self._within()
        # Through an outbox it would be saved with a next message only, and none need come.
        self._save_tree(group_id, result, within if within is not None and within.in_store else None)

    def _save_tree(self, group_id: str, result: Any, within: Within | None) -> None:
        backend = self._backend
        tree = backend.encode({"result": result.as_tuple()})
        expires_at = backend.store.now() + backend.expires if backend.expires else None
        if within is None:
            backend.store.save_group(group_id, tree, expires_at)
        else:
            within.join(Join(group_id, tree=tree, expires_at=expires_at))

    def saved_group(self, group_id: str) -> dict[str, Any] | None:
        """Celery's dictionary of a kept tree."""
        saved = self._backend.store.get_group(group_id)
        if saved is None:
            return None
        meta: dict[str, Any] = self._backend.decode(saved)
        return {"result": result_from_tuple(meta["result"], self._backend.app), "task_id": group_id}

    def begin(self, header: GroupResult) -> None:
        """A chord is about to be sent."""
        within = self._within()
        if getattr(self._backend.app, "local_outbox", None) is not None and within is None:
            # It is joined in the store: members that were kept without that would run, and the body never.
            self._backend.store.get_group(header.id)
        if any(isinstance(member, GroupResult) for member in header.results or ()):
            # A nested header is joined by its tree, not by the flat parts.
            self._save_tree(header.id, header, within)

    def set_size(self, group_id: str, size: int) -> None:
        """So many members were sent; if all of them have ended by now, the body goes."""
        if is_unjoined(group_id):  # Celery says how many there are of it, too
            return
        within = self._within()
        if within is not None:
            within.join(Join(group_id, size))
        elif self._backend.store.set_chord_size(group_id, size):
            chords.dispatch(self._backend, group_id)

    def grow(self, group_id: str, task_id: str) -> None:
        """The chord grows with the message of its new member: one that dies with this run was never a member."""
        attempt = current()
        if attempt is None:
            self._backend.store.grow_chord(group_id, 1)
        else:
            attempt.growing[task_id] = group_id

    # -- where a member has ended

    def add_part(self, request: Any, state: str, result: Any) -> None:
        """Count a member's end: with the settlement of what is running, or at once."""
        if not request.group or not request.id:
            return
        part = self._part(request, state, result)
        attempt = current()
        if attempt is not None:
            attempt.chord.append(part)
        elif self._backend.store.add_chord_part(part):
            chords.dispatch(self._backend, part.group_id)

    def count(self, task_id: str, request: Any, *, succeeded: bool, cancelled: bool = False) -> None:
        """One of many that are one node, which is left to Celery, has come to its end; others are counted as they settle."""
        part = None if current() is not None else Membership.from_header(getattr(request, WORKFLOW_HEADER, None))
        if part is None or (request.chord and request.group == part.folded):
            return
        for one in end_of_many(task_id, request, part, succeeded=succeeded, cancelled=cancelled):
            self._backend.store.add_chord_part(one)

    def _part(self, request: Any, state: str, result: Any) -> ChordPart:
        position = getattr(request, "group_index", None)
        return ChordPart(
            request.group,
            request.id,
            0 if position is None else position,
            state == states.SUCCESS,
            self._backend.encode(self._backend.encode_result(result, state)),
            self._encoded_body(request),
            cancelled=state == states.REVOKED,
        )

    def _encoded_body(self, request: Any) -> Any:
        """Members of one group come one after the other, with the same body."""
        # What fails because something before it did has no message that would say it.
        found = request.group, request.chord, getattr(request, WORKFLOW_HEADER, None) or _workflow()
        last, encoded = self._last_body
        if last != found:
            encoded = self._backend.encode({**request.chord, WORKFLOW_HEADER: found[2]})
            self._last_body = found, encoded  # at once, for threads
        return encoded


def _workflow() -> Any:
    attempt = current()
    return None if attempt is None else attempt.workflow
