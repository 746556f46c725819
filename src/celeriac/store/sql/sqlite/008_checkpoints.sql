-- How far tasks say that they are, one row each, and from where their next run goes on.
CREATE TABLE checkpoint (
    task_id     TEXT NOT NULL PRIMARY KEY,
    cursors     TEXT,                               -- JSON; NULL where there is nothing to go on with
    done        REAL NOT NULL,
    total       REAL,
    note        TEXT,
    at          REAL NOT NULL,
    token       INTEGER NOT NULL,                   -- of the delivery under which the cursors last moved
    expires_at  REAL                                -- as its task's record; NULL while the task may go on
) STRICT, WITHOUT ROWID;
CREATE INDEX checkpoint_expiry ON checkpoint (expires_at) WHERE expires_at IS NOT NULL;
-- Looked through for those whose task was purged, or whose dead letter is gone.
CREATE INDEX checkpoint_open ON checkpoint (at) WHERE expires_at IS NULL;

-- Who goes behind all that waits has the id of one that comes now, which nobody else is given after that.
CREATE TRIGGER message_gone_behind AFTER UPDATE OF id ON message
BEGIN
    UPDATE sqlite_sequence SET seq = max(seq, NEW.id) WHERE name = 'message';
END;
