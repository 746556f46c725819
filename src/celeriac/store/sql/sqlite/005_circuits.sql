-- How often a message was put off: no attempt, and so in no history.
ALTER TABLE message ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letter ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;

-- A circuit breaker is one document, which core.circuits reads and decides on: whoever writes it says which version he has read.
CREATE TABLE circuit (
    name     TEXT PRIMARY KEY,
    version  INTEGER NOT NULL,
    state    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
