-- Whether lanes of these queues are open, or some may be.
-- name: work
SELECT EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL AND queue IN (SELECT jsonb_array_elements_text($2::jsonb)))
    OR EXISTS (SELECT 1 FROM slot WHERE freed) OR EXISTS (SELECT 1 FROM rate WHERE free_at <= $1) OR EXISTS (SELECT 1 FROM lane_entered)

-- Only one process claims from lanes at a time.
-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 12))

-- name: freed
DELETE FROM slot WHERE freed RETURNING bucket

-- What committed in the meantime is in its lane, or still among these.
-- name: enter
WITH entered AS (DELETE FROM lane_entered RETURNING queue, priority, limits)
INSERT INTO lane (queue, priority, limits, turn)
SELECT queue, priority, limits, (SELECT last_value FROM turn) FROM (SELECT DISTINCT queue, priority, limits FROM entered) AS new
ON CONFLICT (queue, priority, limits) DO NOTHING

-- name: due_rates
UPDATE rate SET free_at = NULL WHERE free_at <= $1 RETURNING bucket

-- name: next_rate
SELECT min(free_at) FROM rate WHERE free_at IS NOT NULL

-- Who waits for a rate, and one of the lanes that do.
-- name: put_off
SELECT bucket, free_at, (SELECT limits FROM lane WHERE blocked_on = bucket LIMIT 1) FROM rate
WHERE free_at > $1 AND bucket > $2 ORDER BY bucket LIMIT $3

-- name: look_again
UPDATE rate SET free_at = $1 WHERE bucket IN (SELECT jsonb_array_elements_text($2::jsonb))

-- name: open
SELECT priority, limits,
       (SELECT count(*) FROM (SELECT 1 FROM message
                              WHERE status = 7 AND message.queue = lane.queue AND message.priority = lane.priority
                                AND message.limits = lane.limits LIMIT $2) AS few)
FROM lane WHERE queue = $1 AND blocked_on IS NULL ORDER BY priority DESC, turn LIMIT $3

-- The highest priority that waits in lanes, and among what is simply ready.
-- name: tops
SELECT (SELECT priority FROM lane WHERE queue = $1 AND blocked_on IS NULL ORDER BY priority DESC, turn LIMIT 1),
       (SELECT priority FROM message WHERE status = 0 AND queue = $1 ORDER BY priority DESC, id LIMIT 1)

-- name: buckets
SELECT bucket, (SELECT count(*) FROM slot WHERE slot.bucket = given.bucket AND NOT freed),
       (SELECT tat FROM rate WHERE rate.bucket = given.bucket)
FROM jsonb_array_elements_text($1::jsonb) AS given (bucket)

-- All lanes in one statement.
-- name: claim
WITH lanes AS (
    SELECT value->>0 AS queue, (value->>1)::smallint AS priority, value->>2 AS limits, (value->>3)::int AS count
    FROM jsonb_array_elements($3::jsonb) AS value),
chosen AS MATERIALIZED (
    SELECT few.id FROM lanes, LATERAL (
        SELECT id FROM message
        WHERE status = 7 AND message.queue = lanes.queue AND message.priority = lanes.priority
          AND message.limits = lanes.limits
        ORDER BY id + 0 LIMIT lanes.count FOR UPDATE SKIP LOCKED) AS few)
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
WHERE id = ANY (ARRAY(SELECT id FROM chosen))
RETURNING message.id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                  AND task.generation >= message.generation AND task.closed), priority, limits, expires_at

-- name: relay
WITH lanes AS (
    SELECT value->>0 AS queue, (value->>1)::smallint AS priority, value->>2 AS limits, (value->>3)::int AS count
    FROM jsonb_array_elements($2::jsonb) AS value),
chosen AS MATERIALIZED (
    SELECT few.id FROM lanes, LATERAL (
        SELECT id FROM message
        WHERE status = 7 AND message.queue = lanes.queue AND message.priority = lanes.priority
          AND message.limits = lanes.limits
        ORDER BY id + 0 LIMIT lanes.count FOR UPDATE SKIP LOCKED) AS few)
UPDATE message SET status = 5, lease_until = $1
WHERE id = ANY (ARRAY(SELECT id FROM chosen))
RETURNING message.id, deliveries, queue, envelope, body, task_id, generation, crashes, 0, 0, 0, priority, limits, expires_at

-- name: take_slots
INSERT INTO slot (message_id, bucket)
SELECT (value->>0)::bigint, value->>1 FROM jsonb_array_elements($1::jsonb) AS value
ON CONFLICT (message_id, bucket) DO UPDATE SET freed = false

-- name: set_rates
INSERT INTO rate (bucket, tat, free_at)
SELECT value->>0, (value->>1)::float8, (value->>2)::float8 FROM jsonb_array_elements($1::jsonb) AS value
ON CONFLICT (bucket) DO UPDATE SET tat = excluded.tat, free_at = coalesce(excluded.free_at, rate.free_at)

-- name: next_turns
SELECT max(nextval('turn')) FROM generate_series(1, $1::int)

-- name: visited
UPDATE lane SET turn = coalesce(seen.turn, lane.turn), blocked_on = seen.blocked_on
FROM (SELECT value->>0 AS queue, (value->>1)::smallint AS priority, value->>2 AS limits, (value->>3)::bigint AS turn,
             value->>4 AS blocked_on FROM jsonb_array_elements($1::jsonb) AS value) AS seen
WHERE lane.queue = seen.queue AND lane.priority = seen.priority AND lane.limits = seen.limits

-- A message that commits just now has its lane opened again by what it has entered.
-- name: emptied
DELETE FROM lane
USING (SELECT value->>0 AS queue, (value->>1)::smallint AS priority, value->>2 AS limits
       FROM jsonb_array_elements($1::jsonb) AS value) AS seen
WHERE lane.queue = seen.queue AND lane.priority = seen.priority AND lane.limits = seen.limits
  AND NOT EXISTS (SELECT 1 FROM message WHERE status = 7 AND message.queue = lane.queue
                  AND message.priority = lane.priority AND message.limits = lane.limits)

-- name: blocked_queues
WITH RECURSIVE found (queue) AS (
    SELECT min(queue) FROM lane WHERE blocked_on = $1
    UNION ALL SELECT (SELECT min(queue) FROM lane WHERE blocked_on = $1 AND queue > found.queue)
              FROM found WHERE found.queue IS NOT NULL)
SELECT queue FROM found WHERE queue IS NOT NULL

-- name: wake
UPDATE lane SET blocked_on = NULL
WHERE (queue, priority, limits) IN (SELECT queue, priority, limits FROM lane WHERE blocked_on = $1 AND queue = $2
                                    ORDER BY priority DESC, turn LIMIT $3)

-- name: suspects
SELECT id, limits, expires_at FROM message
WHERE status = 4 AND queue = $1 AND crashes < $2 ORDER BY id + 0 LIMIT 50 FOR UPDATE SKIP LOCKED

-- name: hold
UPDATE message
SET status = CASE WHEN crashes > 0 THEN 4 ELSE 7 END, limits = $1, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = $2 AND deliveries = $3 AND status = 2

-- name: lanes
SELECT queue, priority, limits, blocked_on,
       (SELECT count(*) FROM message WHERE status = 7 AND message.queue = lane.queue
        AND message.priority = lane.priority AND message.limits = lane.limits)
FROM lane ORDER BY queue, priority DESC, turn LIMIT $1

-- name: taken
SELECT bucket, count(*) FROM slot WHERE NOT freed GROUP BY bucket

-- name: prune_rates
DELETE FROM rate WHERE bucket IN (SELECT bucket FROM rate WHERE tat < $1 AND free_at IS NULL LIMIT $2)

-- Beside a broker that is no store.
-- name: outbox_work
SELECT EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL) OR EXISTS (SELECT 1 FROM slot WHERE freed)
    OR EXISTS (SELECT 1 FROM rate WHERE free_at <= $1) OR EXISTS (SELECT 1 FROM lane_entered)
    OR EXISTS (SELECT 1 FROM message WHERE status = 4 AND limits IS NOT NULL)

-- name: open_queues
SELECT DISTINCT queue FROM lane WHERE blocked_on IS NULL
  AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')

-- name: all_suspects
SELECT id, limits, expires_at FROM message WHERE status = 4 AND limits IS NOT NULL
  AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
ORDER BY id + 0 LIMIT 50 FOR UPDATE SKIP LOCKED

-- name: relay_suspect
UPDATE message SET status = 6, lease_until = $1 WHERE id = $2 AND status = 4
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1, 0, 0, priority, limits
