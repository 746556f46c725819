-- What was published in this database's transactions, and is on its way to the broker.
CREATE TABLE IF NOT EXISTS celeriac_outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    destination text NOT NULL,              -- which broker
    queue       text NOT NULL,
    task_id     text NOT NULL,
    name        text NOT NULL,
    message     text NOT NULL,
    written_at  double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    taken_until double precision,           -- by a relay that is giving it to the broker
    error       text                        -- why the broker refused it
);
CREATE INDEX IF NOT EXISTS celeriac_outbox_destination ON celeriac_outbox (destination, id);
