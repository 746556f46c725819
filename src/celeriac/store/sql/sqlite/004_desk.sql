-- What a person has said of a dead letter, and what makes its error the same as others'. An older version writes none of it.
ALTER TABLE dead_letter ADD COLUMN fingerprint TEXT;
ALTER TABLE dead_letter ADD COLUMN acked_at REAL;
ALTER TABLE dead_letter ADD COLUMN acked_by TEXT;
ALTER TABLE dead_letter ADD COLUMN note TEXT;

-- The chords that a dead letter's task is a member of, or leads to: kept as long as it can still be redriven.
CREATE TABLE letter_chord (
    task_id     TEXT NOT NULL,
    group_id    TEXT NOT NULL,
    held_at     REAL NOT NULL,
    PRIMARY KEY (task_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX letter_chord_held ON letter_chord (held_at);

-- Who did what with dead letters and failures, and when.
CREATE TABLE action (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          REAL NOT NULL,
    who         TEXT NOT NULL,
    verb        TEXT NOT NULL,
    letter_id   INTEGER,
    task_id     TEXT,
    note        TEXT
) STRICT;
CREATE INDEX action_task ON action (task_id) WHERE task_id IS NOT NULL;

-- Failures of which nobody has heard. A row goes when somebody has, or when its task is sent again.
CREATE TABLE failure (
    task_id     TEXT PRIMARY KEY,
    generation  INTEGER NOT NULL,
    name        TEXT,
    queue       TEXT,
    worker      TEXT,
    error_type  TEXT NOT NULL,
    error       TEXT NOT NULL,
    failed_at   REAL NOT NULL,
    lettered    INTEGER NOT NULL                    -- 1: it has a dead letter, and goes with that
) STRICT, WITHOUT ROWID;
CREATE INDEX failure_failed ON failure (failed_at, task_id);
