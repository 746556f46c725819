-- As in SQLite's schema, where each table and column is explained.
CREATE TABLE chain (
    kept_at     double precision NOT NULL,
    id          text PRIMARY KEY,
    format      text NOT NULL
);
CREATE INDEX chain_kept ON chain (kept_at);

CREATE TABLE chain_step (
    position    integer NOT NULL,
    chain_id    text NOT NULL,
    step        packed NOT NULL,
    PRIMARY KEY (chain_id, position)
);

CREATE TABLE chain_holder (
    at          double precision NOT NULL,
    chain_id    text NOT NULL,
    holder      text NOT NULL,
    PRIMARY KEY (chain_id, holder)
);
CREATE INDEX chain_holder_holder ON chain_holder (holder);
