-- Whatever way a message comes, and only if its transaction commits.
CREATE TABLE kit_published (
    id         INTEGER PRIMARY KEY,
    task_id    TEXT NOT NULL,
    name       TEXT NOT NULL,
    queue      TEXT NOT NULL,
    priority   INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    run_at     REAL,
    expires_at REAL,
    sent_at    REAL NOT NULL,
    envelope   TEXT NOT NULL,
    body       ANY NOT NULL
) STRICT;

CREATE TRIGGER kit_published AFTER INSERT ON message WHEN new.task_id IS NOT NULL AND new.name IS NOT NULL
BEGIN
    INSERT INTO kit_published
        (task_id, name, queue, priority, generation, run_at, expires_at, sent_at, envelope, body)
    VALUES
        (new.task_id, new.name, new.queue, new.priority, new.generation, new.run_at, new.expires_at, new.sent_at,
         new.envelope, new.body);
END;
