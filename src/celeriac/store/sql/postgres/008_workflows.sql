-- As in SQLite's schema, where each column is explained.
CREATE TABLE workflow (
    sent_at      double precision NOT NULL,
    cancelled_at double precision,
    noted_at     double precision,
    looked_at    double precision,
    id           text PRIMARY KEY,
    name         text NOT NULL,
    shape        text NOT NULL,
    on_failure   text NOT NULL,
    parent       text,
    cancelled_by text,
    state        text NOT NULL DEFAULT 'running',
    outcome      text
);
CREATE INDEX workflow_sent ON workflow (sent_at);
CREATE INDEX workflow_looked ON workflow (looked_at) WHERE state IN ('running', 'blocked');
CREATE INDEX workflow_noted ON workflow (noted_at) WHERE state <> 'running';
CREATE INDEX workflow_cancelled ON workflow (cancelled_at) WHERE cancelled_at IS NOT NULL;
