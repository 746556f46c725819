-- Hot: what waits or is being worked on. A row is deleted when its task settles.
-- status: 0 ready, 1 delayed (until run_at), 2 claimed (until lease_until),
--         3 parked (until idempotency key `key` is free), 4 suspect (ready, but
--         its last worker vanished: claimed alone).
CREATE TABLE message (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: half of the fencing pair
    queue       TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    run_at      REAL,
    expires_at  REAL,
    task_id     TEXT,
    name        TEXT,
    generation  INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL DEFAULT 0,         -- the other half: the fencing token
    crashes     INTEGER NOT NULL DEFAULT 0,
    started_at  REAL,                               -- the started mark of the current delivery
    owner       TEXT,
    lease_until REAL,                               -- on the lease clock, not the wall clock
    key         TEXT,
    sent_at     REAL NOT NULL,
    envelope    TEXT NOT NULL,
    body        ANY NOT NULL
) STRICT;

CREATE INDEX message_ready ON message (queue, priority DESC, id) WHERE status = 0;
CREATE INDEX message_suspect ON message (queue, id) WHERE status = 4;
CREATE INDEX message_due ON message (run_at) WHERE status = 1;
CREATE INDEX message_lease ON message (lease_until) WHERE status = 2;
CREATE INDEX message_parked ON message (key) WHERE status = 3;
-- At most one live message for a task: what makes a second publish harmless.
CREATE UNIQUE INDEX message_task ON message (task_id) WHERE task_id IS NOT NULL;

-- Cold: what became of it. One row a task, the newest generation.
CREATE TABLE task (
    task_id     TEXT NOT NULL UNIQUE,
    generation  INTEGER NOT NULL,
    closed      INTEGER NOT NULL,                   -- 1: this generation has settled
    state       TEXT NOT NULL,
    name        TEXT,
    queue       TEXT,
    worker      TEXT,
    retries     INTEGER NOT NULL DEFAULT 0,
    started_at  REAL,
    finished_at REAL,
    result      ANY,
    traceback   TEXT,
    meta        TEXT,
    expires_at  REAL
) STRICT;
CREATE INDEX task_expiry ON task (expires_at) WHERE expires_at IS NOT NULL;

-- Attempts that did not simply succeed.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    task_id     TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    started_at  REAL,
    finished_at REAL NOT NULL,
    worker      TEXT,
    outcome     TEXT NOT NULL,
    error_type  TEXT,
    error       TEXT,
    traceback   TEXT
) STRICT;
CREATE INDEX attempt_task ON attempt (task_id);
CREATE INDEX attempt_finished ON attempt (finished_at);

CREATE TABLE dead_letter (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id     TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    name        TEXT,
    queue       TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    error_type  TEXT NOT NULL,
    error       TEXT NOT NULL,
    traceback   TEXT,
    worker      TEXT,
    failed_at   REAL NOT NULL,
    envelope    TEXT NOT NULL,
    body        ANY NOT NULL
) STRICT;
CREATE INDEX dead_letter_task ON dead_letter (task_id);
CREATE INDEX dead_letter_failed ON dead_letter (failed_at);

CREATE TABLE idempotency_key (
    key         TEXT PRIMARY KEY,                   -- task name and key
    task_id     TEXT NOT NULL,
    digest      TEXT NOT NULL,
    ttl         REAL NOT NULL,                      -- seconds it stays taken after a success
    done        INTEGER NOT NULL DEFAULT 0,         -- 1: its holder succeeded
    expires_at  REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_task ON idempotency_key (task_id);
CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at) WHERE done = 1;

CREATE TABLE revoked (
    task_id     TEXT PRIMARY KEY,
    expires_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_expiry ON revoked (expires_at);

CREATE TABLE chord (
    group_id    TEXT PRIMARY KEY,
    size        INTEGER,                            -- NULL until the header is sent
    grown       INTEGER NOT NULL DEFAULT 0,         -- members added by members
    state       TEXT NOT NULL DEFAULT 'open',       -- open, sent, failed
    body        TEXT,
    completed_at REAL,
    updated_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chord_over ON chord (updated_at) WHERE state <> 'open';
CREATE INDEX chord_complete ON chord (completed_at) WHERE completed_at IS NOT NULL AND state = 'open';

CREATE TABLE chord_part (
    group_id    TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    position    INTEGER NOT NULL,
    succeeded   INTEGER NOT NULL,
    result      ANY,
    PRIMARY KEY (group_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_result (
    group_id    TEXT PRIMARY KEY,
    result      ANY NOT NULL,
    expires_at  REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX group_result_expiry ON group_result (expires_at) WHERE expires_at IS NOT NULL;

-- Fanout: listeners remember how far they have read; rows live a minute.
CREATE TABLE broadcast (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    sent_at     REAL NOT NULL,
    envelope    TEXT NOT NULL,
    body        ANY NOT NULL
) STRICT;

CREATE TABLE binding (
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    pattern     TEXT NOT NULL,
    queue       TEXT NOT NULL,
    bound_at    REAL NOT NULL,
    PRIMARY KEY (exchange, routing_key, pattern, queue)
) STRICT, WITHOUT ROWID;

CREATE TABLE fact (
    name        TEXT PRIMARY KEY,
    value       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
