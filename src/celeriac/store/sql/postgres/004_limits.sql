-- As in SQLite's schema, where each table and column is explained.
ALTER TABLE message ADD COLUMN limits text;
CREATE INDEX message_lane ON message (queue, priority, limits, id) WHERE status = 7;

CREATE TABLE lane (
    turn        bigint NOT NULL,
    priority    smallint NOT NULL,
    queue       text NOT NULL,
    limits      text NOT NULL,
    blocked_on  text,
    PRIMARY KEY (queue, priority, limits)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lane_open ON lane (queue, priority DESC, turn) WHERE blocked_on IS NULL;
CREATE INDEX lane_blocked ON lane (blocked_on, queue, priority DESC, turn) WHERE blocked_on IS NOT NULL;
CREATE SEQUENCE turn;

-- Who puts a message into a lane only says so: only who claims touches the lanes, so that no publish waits for another one's
-- transaction.
CREATE TABLE lane_entered (
    priority    smallint NOT NULL,
    queue       text NOT NULL,
    limits      text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE slot (
    message_id  bigint NOT NULL,
    freed       boolean NOT NULL DEFAULT false,
    bucket      text NOT NULL,
    PRIMARY KEY (message_id, bucket)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX slot_taken ON slot (bucket) WHERE NOT freed;
CREATE INDEX slot_freed ON slot (bucket) WHERE freed;

CREATE TABLE rate (
    tat         double precision NOT NULL,
    free_at     double precision,
    bucket      text PRIMARY KEY
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rate_free ON rate (free_at) WHERE free_at IS NOT NULL;
CREATE INDEX rate_tat ON rate (tat);

CREATE FUNCTION enter_lane() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO lane_entered (priority, queue, limits) VALUES (NEW.priority, NEW.queue, NEW.limits);
    RETURN NULL;
END $$;
CREATE FUNCTION free_slots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE slot SET freed = true WHERE message_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER message_sent_to_lane AFTER INSERT ON message
    FOR EACH ROW WHEN (NEW.status = 7) EXECUTE FUNCTION enter_lane();
CREATE TRIGGER message_put_in_lane AFTER UPDATE OF status ON message
    FOR EACH ROW WHEN (NEW.status = 7) EXECUTE FUNCTION enter_lane();
CREATE TRIGGER message_let_go AFTER UPDATE OF status ON message
    FOR EACH ROW WHEN (OLD.limits IS NOT NULL AND OLD.status IN (2, 5, 6) AND NEW.status NOT IN (2, 5, 6))
    EXECUTE FUNCTION free_slots();
CREATE TRIGGER message_ended AFTER DELETE ON message
    FOR EACH ROW WHEN (OLD.limits IS NOT NULL AND OLD.status IN (2, 5, 6)) EXECUTE FUNCTION free_slots();
