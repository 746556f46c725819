-- Canvases that somebody sent, each recorded with its first message.
CREATE TABLE workflow (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    shape        TEXT NOT NULL,                      -- its nodes, see core.workflow
    on_failure   TEXT NOT NULL,
    parent       TEXT,                               -- the task whose body sent it
    sent_at      REAL NOT NULL,
    cancelled_at REAL,
    cancelled_by TEXT,
    state        TEXT NOT NULL DEFAULT 'running',    -- what was last noted of it
    outcome      TEXT,                               -- and of its nodes, whose results may be forgotten by now
    noted_at     REAL,                               -- when that was first noted of a state in which it stays
    looked_at    REAL                                -- when somebody last looked whether there is more to be noted
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_sent ON workflow (sent_at);
CREATE INDEX workflow_looked ON workflow (looked_at) WHERE state IN ('running', 'blocked');
CREATE INDEX workflow_noted ON workflow (noted_at) WHERE state <> 'running';
CREATE INDEX workflow_cancelled ON workflow (cancelled_at) WHERE cancelled_at IS NOT NULL;
