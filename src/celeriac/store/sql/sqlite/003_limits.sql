-- status 7: ready, but in a lane: whoever claims it looks first whether its limits let it start. What they are stands in the
-- message, as text that is the same for the same limits; a message without any is in no lane.
ALTER TABLE message ADD COLUMN limits TEXT;
CREATE INDEX message_lane ON message (queue, priority, limits, id) WHERE status = 7;

-- Every lane in which messages wait. blocked_on names the bucket (a limit's name and the value of its key) that had no room
-- when the lane was last looked at.
CREATE TABLE lane (
    queue       TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    limits      TEXT NOT NULL,
    turn        INTEGER NOT NULL,                   -- the lane with the lowest goes next
    blocked_on  TEXT,
    PRIMARY KEY (queue, priority, limits)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_open ON lane (queue, priority DESC, turn) WHERE blocked_on IS NULL;
CREATE INDEX lane_blocked ON lane (blocked_on, queue, priority DESC, turn) WHERE blocked_on IS NOT NULL;
CREATE TABLE turn (last INTEGER NOT NULL) STRICT;
INSERT INTO turn VALUES (0);

-- What each message that is held has taken; freed says that it is held no more, and who claims next has to be told.
CREATE TABLE slot (
    message_id  INTEGER NOT NULL,
    bucket      TEXT NOT NULL,
    freed       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message_id, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX slot_taken ON slot (bucket) WHERE freed = 0;
CREATE INDEX slot_freed ON slot (bucket) WHERE freed = 1;

-- Rates, on the lease clock: the theoretical arrival time of the next start, and when lanes that wait for it go on.
CREATE TABLE rate (
    bucket      TEXT PRIMARY KEY,
    tat         REAL NOT NULL,
    free_at     REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX rate_free ON rate (free_at) WHERE free_at IS NOT NULL;
CREATE INDEX rate_tat ON rate (tat);

-- Whatever makes a message wait in a lane opens that (who inserts one does so himself: a trigger costs every insert 2 us), and whatever ends a lease gives the slots back.
CREATE TRIGGER message_put_in_lane AFTER UPDATE OF status ON message WHEN NEW.status = 7
BEGIN
    INSERT OR IGNORE INTO lane VALUES (NEW.queue, NEW.priority, NEW.limits, (SELECT last FROM turn), NULL);
END;
CREATE TRIGGER message_let_go AFTER UPDATE OF status ON message
WHEN OLD.limits IS NOT NULL AND OLD.status IN (2, 5, 6) AND NEW.status NOT IN (2, 5, 6)
BEGIN
    UPDATE slot SET freed = 1 WHERE message_id = OLD.id;
END;
CREATE TRIGGER message_ended AFTER DELETE ON message WHEN OLD.limits IS NOT NULL AND OLD.status IN (2, 5, 6)
BEGIN
    UPDATE slot SET freed = 1 WHERE message_id = OLD.id;
END;
