-- Whether lanes of these queues are open, or some may be.
-- name: work
SELECT EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL AND queue IN (SELECT value FROM json_each(?2)))
    OR EXISTS (SELECT 1 FROM slot WHERE freed = 1) OR EXISTS (SELECT 1 FROM rate WHERE free_at <= ?1)

-- Only one process claims from lanes at a time: here whoever writes has the file for himself.
-- name: lock
SELECT 1

-- name: freed
DELETE FROM slot WHERE freed = 1 RETURNING bucket

-- The trigger has opened the lanes.
-- name: enter
SELECT 1

-- name: due_rates
UPDATE rate SET free_at = NULL WHERE free_at <= ? RETURNING bucket

-- name: next_rate
SELECT min(free_at) FROM rate WHERE free_at IS NOT NULL

-- Who waits for a rate, and one of the lanes that do.
-- name: put_off
SELECT bucket, free_at, (SELECT limits FROM lane WHERE blocked_on = bucket LIMIT 1) FROM rate
WHERE free_at > ?1 AND bucket > ?2 ORDER BY bucket LIMIT ?3

-- name: look_again
UPDATE rate SET free_at = ?1 WHERE bucket IN (SELECT value FROM json_each(?2))

-- name: open
SELECT priority, limits,
       (SELECT count(*) FROM (SELECT 1 FROM message
                              WHERE status = 7 AND message.queue = lane.queue AND message.priority = lane.priority
                                AND message.limits = lane.limits LIMIT ?2))
FROM lane WHERE queue = ?1 AND blocked_on IS NULL ORDER BY priority DESC, turn LIMIT ?3

-- The highest priority that waits in lanes, and among what is simply ready.
-- name: tops
SELECT (SELECT priority FROM lane WHERE queue = ?1 AND blocked_on IS NULL ORDER BY priority DESC, turn LIMIT 1),
       (SELECT priority FROM message WHERE status = 0 AND queue = ?1 ORDER BY priority DESC, id LIMIT 1)

-- name: buckets
SELECT value, (SELECT count(*) FROM slot WHERE bucket = value AND freed = 0), (SELECT tat FROM rate WHERE bucket = value)
FROM json_each(?)

-- name: claim
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = ?, owner = ?
WHERE id IN (SELECT id FROM message WHERE status = 7 AND queue = ? AND priority = ? AND limits = ? ORDER BY id LIMIT ?)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = CAST(message.task_id AS TEXT)),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = CAST(message.task_id AS TEXT)
                  AND task.generation >= message.generation AND task.closed = 1),
          priority, limits, expires_at

-- name: relay
UPDATE message SET status = 5, lease_until = ?
WHERE id IN (SELECT id FROM message WHERE status = 7 AND queue = ? AND priority = ? AND limits = ? ORDER BY id LIMIT ?)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 0, 0, 0, priority, limits, expires_at

-- name: take_slots
INSERT INTO slot (message_id, bucket)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET freed = 0

-- name: set_rates
INSERT INTO rate (bucket, tat, free_at)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET tat = excluded.tat, free_at = coalesce(excluded.free_at, free_at)

-- name: next_turns
UPDATE turn SET last = last + ? RETURNING last

-- name: visited
UPDATE lane SET turn = coalesce(seen.turn, lane.turn), blocked_on = seen.blocked_on
FROM (SELECT json_extract(value, '$[0]') AS queue, json_extract(value, '$[1]') AS priority,
             json_extract(value, '$[2]') AS limits, json_extract(value, '$[3]') AS turn,
             json_extract(value, '$[4]') AS blocked_on FROM json_each(?)) AS seen
WHERE lane.queue = seen.queue AND lane.priority = seen.priority AND lane.limits = seen.limits

-- name: emptied
DELETE FROM lane
WHERE (queue, priority, limits) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                                           json_extract(value, '$[2]') FROM json_each(?))
  AND NOT EXISTS (SELECT 1 FROM message WHERE status = 7 AND message.queue = lane.queue
                  AND message.priority = lane.priority AND message.limits = lane.limits)

-- name: blocked_queues
WITH RECURSIVE found (queue) AS (
    SELECT min(queue) FROM lane WHERE blocked_on = ?1
    UNION ALL SELECT (SELECT min(queue) FROM lane WHERE blocked_on = ?1 AND queue > found.queue)
              FROM found WHERE found.queue IS NOT NULL)
SELECT queue FROM found WHERE queue IS NOT NULL

-- name: wake
UPDATE lane SET blocked_on = NULL
WHERE (queue, priority, limits) IN (SELECT queue, priority, limits FROM lane WHERE blocked_on = ? AND queue = ?
                                    ORDER BY priority DESC, turn LIMIT ?)

-- name: suspects
SELECT id, limits, expires_at FROM message
WHERE status = 4 AND queue = ? AND crashes < ? ORDER BY id LIMIT 50

-- What came without limits, and should have some, is sent to its lane by who was given it.
-- name: hold
UPDATE message
SET status = iif(crashes > 0, 4, 7), limits = ?, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = ? AND deliveries = ? AND status = 2

-- name: lanes
SELECT queue, priority, limits, blocked_on,
       (SELECT count(*) FROM message WHERE status = 7 AND message.queue = lane.queue
        AND message.priority = lane.priority AND message.limits = lane.limits)
FROM lane ORDER BY queue, priority DESC, turn LIMIT ?

-- name: taken
SELECT bucket, count(*) FROM slot WHERE freed = 0 GROUP BY bucket

-- name: prune_rates
DELETE FROM rate WHERE bucket IN (SELECT bucket FROM rate WHERE tat < ?1 AND free_at IS NULL LIMIT ?2)

-- Beside a broker that is no store.
-- name: outbox_work
SELECT EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL) OR EXISTS (SELECT 1 FROM slot WHERE freed = 1)
    OR EXISTS (SELECT 1 FROM rate WHERE free_at <= ?)
    OR EXISTS (SELECT 1 FROM message WHERE status = 4 AND limits IS NOT NULL)

-- name: open_queues
SELECT DISTINCT queue FROM lane WHERE blocked_on IS NULL
  AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')

-- name: all_suspects
SELECT id, limits, expires_at FROM message WHERE status = 4 AND limits IS NOT NULL
  AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
ORDER BY id LIMIT 50

-- name: relay_suspect
UPDATE message SET status = 6, lease_until = ? WHERE id = ? AND status = 4
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1, 0, 0, priority, limits

-- Who waits for a rate looks again: its clock began anew.
-- name: forget_boot
UPDATE rate SET free_at = 0 WHERE free_at IS NOT NULL

-- name: entered
INSERT OR IGNORE INTO lane VALUES (?, ?, ?, (SELECT last FROM turn), NULL)
