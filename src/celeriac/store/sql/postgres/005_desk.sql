-- As in SQLite's. Columns that may be empty are added without a look at the rows, and no index is made on what others write.
ALTER TABLE dead_letter
    ADD COLUMN fingerprint text, ADD COLUMN acked_at double precision, ADD COLUMN acked_by text, ADD COLUMN note text;

CREATE TABLE letter_chord (
    task_id     text NOT NULL,
    group_id    text NOT NULL,
    held_at     double precision NOT NULL,
    PRIMARY KEY (task_id, group_id)
);
CREATE INDEX letter_chord_group ON letter_chord (group_id);
CREATE INDEX letter_chord_held ON letter_chord (held_at);

CREATE TABLE action (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          double precision NOT NULL,
    who         text NOT NULL,
    verb        text NOT NULL,
    letter_id   bigint,
    task_id     text,
    note        text
);
CREATE INDEX action_task ON action (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX action_at ON action (at);

CREATE TABLE failure (
    task_id     text PRIMARY KEY,
    generation  integer NOT NULL,
    name        text,
    queue       text,
    worker      text,
    error_type  text NOT NULL,
    error       text NOT NULL,
    failed_at   double precision NOT NULL,
    lettered    boolean NOT NULL
);
CREATE INDEX failure_failed ON failure (failed_at, task_id);
