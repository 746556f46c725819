-- Steps of tasks that were done, each recorded in the transaction that did it.
CREATE TABLE IF NOT EXISTS celeriac_effect (
    scope   text NOT NULL,                  -- the task's name and key, or its id
    step    text NOT NULL,
    value   text,                           -- JSON, for the runs after it
    made_at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    PRIMARY KEY (scope, step)
);
CREATE INDEX IF NOT EXISTS celeriac_effect_made_at ON celeriac_effect (made_at);
