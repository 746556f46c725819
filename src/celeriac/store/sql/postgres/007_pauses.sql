-- As in SQLite's schema, where each table and column is explained.
CREATE TABLE pause (
    at          double precision NOT NULL,
    kind        text NOT NULL,
    name        text NOT NULL,
    who         text NOT NULL,
    note        text NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX message_held ON message (name, id) WHERE status = 8;
CREATE INDEX message_lane_task ON message (name) WHERE status = 7;
