-- As in SQLite's schema, where each table and column is explained.
ALTER TABLE message ADD COLUMN snoozes integer NOT NULL DEFAULT 0;
ALTER TABLE dead_letter ADD COLUMN snoozes integer NOT NULL DEFAULT 0;

CREATE TABLE circuit (
    version  bigint NOT NULL,
    name     text PRIMARY KEY,
    state    text NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
