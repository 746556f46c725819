-- The rests of long chains, which their steps' messages only name. A step is never changed.
CREATE TABLE chain (
    id          TEXT PRIMARY KEY,
    format      TEXT NOT NULL,                      -- how the steps are written; a store reads none
    kept_at     REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chain_kept ON chain (kept_at);

CREATE TABLE chain_step (
    chain_id    TEXT NOT NULL,
    position    INTEGER NOT NULL,                   -- from the end: the last step is 0
    step        TEXT NOT NULL,
    PRIMARY KEY (chain_id, position)
) STRICT, WITHOUT ROWID;

-- Who needs it: a task, while it waits, runs or is a dead letter; a chord, while anything is known of it.
CREATE TABLE chain_holder (
    chain_id    TEXT NOT NULL,
    holder      TEXT NOT NULL,
    at          REAL NOT NULL,
    PRIMARY KEY (chain_id, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX chain_holder_holder ON chain_holder (holder);
