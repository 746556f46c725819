-- Steps of tasks that were done, each recorded in the transaction that did it.
CREATE TABLE IF NOT EXISTS celeriac_effect (
    scope   TEXT NOT NULL,                  -- the task's name and key, or its id
    step    TEXT NOT NULL,
    value   TEXT,                           -- JSON, for the runs after it
    made_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    PRIMARY KEY (scope, step)
);
CREATE INDEX IF NOT EXISTS celeriac_effect_made_at ON celeriac_effect (made_at);
