-- As in SQLite's schema, where each table and column is explained.
-- What may be text or bytes is bytes with one more in front: t or b.
CREATE DOMAIN packed AS bytea;

-- Hot. No index holds what an attempt changes except status and lease, and the
-- page has room, so the other changes stay on it.
CREATE TABLE message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_at      double precision,
    expires_at  double precision,
    started_at  double precision,
    lease_until double precision,
    sent_at     double precision NOT NULL,
    status      smallint NOT NULL,
    priority    smallint NOT NULL,
    generation  integer NOT NULL,
    deliveries  integer NOT NULL DEFAULT 0,
    crashes     integer NOT NULL DEFAULT 0,
    queue       text NOT NULL,
    task_id     text,
    name        text,
    owner       text,
    key         text,
    envelope    text NOT NULL,
    body        packed NOT NULL
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX message_ready ON message (queue, priority DESC, id) WHERE status = 0;
CREATE INDEX message_suspect ON message (queue, id) WHERE status = 4;
CREATE INDEX message_due ON message (run_at) WHERE status = 1;
CREATE INDEX message_lease ON message (lease_until) WHERE status = 2;
CREATE INDEX message_parked ON message (key) WHERE status = 3;
CREATE UNIQUE INDEX message_task ON message (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE task (
    task_id     text PRIMARY KEY,
    generation  integer NOT NULL,
    closed      boolean NOT NULL,
    state       text NOT NULL,
    name        text,
    queue       text,
    worker      text,
    retries     integer NOT NULL DEFAULT 0,
    started_at  double precision,
    finished_at double precision,
    result      packed,
    traceback   text,
    meta        text,
    expires_at  double precision
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX task_expiry ON task (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE attempt (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id     text NOT NULL,
    generation  integer NOT NULL,
    started_at  double precision,
    finished_at double precision NOT NULL,
    worker      text,
    outcome     text NOT NULL,
    error_type  text,
    error       text,
    traceback   text
);
CREATE INDEX attempt_task ON attempt (task_id);
CREATE INDEX attempt_finished ON attempt (finished_at);

CREATE TABLE dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id     text NOT NULL,
    generation  integer NOT NULL,
    name        text,
    queue       text NOT NULL,
    priority    smallint NOT NULL,
    reason      text NOT NULL,
    error_type  text NOT NULL,
    error       text NOT NULL,
    traceback   text,
    worker      text,
    failed_at   double precision NOT NULL,
    envelope    text NOT NULL,
    body        packed NOT NULL
);
CREATE INDEX dead_letter_task ON dead_letter (task_id);
CREATE INDEX dead_letter_failed ON dead_letter (failed_at);

CREATE TABLE idempotency_key (
    key         text PRIMARY KEY,
    task_id     text NOT NULL,
    digest      text NOT NULL,
    ttl         double precision NOT NULL,
    done        smallint NOT NULL DEFAULT 0,
    expires_at  double precision
);
CREATE INDEX idempotency_key_task ON idempotency_key (task_id);
CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at) WHERE done = 1;

CREATE TABLE revoked (
    task_id     text PRIMARY KEY,
    expires_at  double precision NOT NULL
);
CREATE INDEX revoked_expiry ON revoked (expires_at);

CREATE TABLE chord (
    group_id    text PRIMARY KEY,
    size        integer,
    grown       integer NOT NULL DEFAULT 0,
    state       text NOT NULL DEFAULT 'open',
    body        text,
    completed_at double precision,
    updated_at  double precision NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX chord_over ON chord (updated_at) WHERE state <> 'open';
CREATE INDEX chord_complete ON chord (completed_at) WHERE completed_at IS NOT NULL AND state = 'open';

CREATE TABLE chord_part (
    group_id    text NOT NULL,
    task_id     text NOT NULL,
    position    integer NOT NULL,
    succeeded   smallint NOT NULL,
    result      packed,
    PRIMARY KEY (group_id, task_id)
);

CREATE TABLE group_result (
    group_id    text PRIMARY KEY,
    result      packed NOT NULL,
    expires_at  double precision
);
CREATE INDEX group_result_expiry ON group_result (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE broadcast (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange    text NOT NULL,
    routing_key text NOT NULL,
    sent_at     double precision NOT NULL,
    envelope    text NOT NULL,
    body        packed NOT NULL
);

CREATE TABLE binding (
    exchange    text NOT NULL,
    routing_key text NOT NULL,
    pattern     text NOT NULL,
    queue       text NOT NULL,
    bound_at    double precision NOT NULL,
    PRIMARY KEY (exchange, routing_key, pattern, queue)
);

CREATE TABLE fact (
    name        text PRIMARY KEY,
    value       text NOT NULL
);

-- The clock of leases and of what is due: the server's, whatever the hosts think.
CREATE FUNCTION clock() RETURNS double precision LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT extract(epoch FROM statement_timestamp())::double precision';
