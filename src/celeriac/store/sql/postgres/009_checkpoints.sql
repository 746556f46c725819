-- As in SQLite's schema, where each table and column is explained.
CREATE TABLE checkpoint (
    done        double precision NOT NULL,
    total       double precision,
    at          double precision NOT NULL,
    token       bigint NOT NULL,
    expires_at  double precision,
    task_id     text PRIMARY KEY,
    cursors     text,
    note        text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX checkpoint_expiry ON checkpoint (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX checkpoint_open ON checkpoint (at) WHERE expires_at IS NULL;
