"""How the server is to find its rows: by their indexes, whatever its statistics say of a queue.

They are taken now and then, and a queue that was empty at that moment may hold a million messages before the next time. A
plan that is cheap for no rows reads all of them for each claim.
"""

from __future__ import annotations

#: For a statement that counts a whole table, until its transaction ends.
FOR_ALL_ROWS = b"SET LOCAL enable_seqscan = on"


def by_index() -> dict[str, str]:
    """The session's settings under which no plan reads a whole table where an index leads to the rows."""
    # What has to read a whole table all the same seems so costly then that the server would compile its plan.
    return {"enable_seqscan": "off", "jit": "off"}
