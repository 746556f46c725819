-- What people have stopped, until somebody resumes it. kind: 'queue' (claims leave it out) or 'task'.
CREATE TABLE pause (
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    at          REAL NOT NULL,
    who         TEXT NOT NULL,
    note        TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
-- status 8: set aside, because its task is paused; in no index that a claim reads.
CREATE INDEX message_held ON message (name, id) WHERE status = 8;
-- What waits in lanes is set aside before lanes are looked at, so that no start of a rate is spent on it.
CREATE INDEX message_lane_task ON message (name) WHERE status = 7;
