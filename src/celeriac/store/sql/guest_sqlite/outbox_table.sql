-- What was published in this database's transactions, and is on its way to the broker.
CREATE TABLE IF NOT EXISTS celeriac_outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,              -- which broker
    queue       TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    name        TEXT NOT NULL,
    message     TEXT NOT NULL,
    written_at  REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    taken_until REAL,                       -- by a relay that is giving it to the broker
    error       TEXT                        -- why the broker refused it
);
CREATE INDEX IF NOT EXISTS celeriac_outbox_destination ON celeriac_outbox (destination, id);
