-- name: next_generations
SELECT task_id, generation + closed FROM task WHERE task_id IN (SELECT value FROM json_each(?))

-- name: publish
INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, key, sent_at, envelope, body,
                     limits)
VALUES (?, ?, ?, ?, ?, ?, ?,
        coalesce(?, (SELECT generation + closed FROM task WHERE task_id = ?6), 0),
        ?, ?, ?, ?, ?)
ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING

-- What says which generation it is. The row stands for as many as are given.
-- name: publish_rows
INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, key, sent_at, envelope, body,
                     limits)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING

-- name: last_message
SELECT coalesce(max(id), 0) FROM message

-- name: messages_after
SELECT task_id FROM message WHERE id > ? AND task_id IS NOT NULL

-- name: promote
-- Not all at once: a night's worth falling due together would hold up every publish.
UPDATE message SET status = iif(crashes > 0, 4, iif(limits IS NULL, 0, 7))
WHERE id IN (SELECT id FROM message WHERE status = 1 AND run_at <= ? ORDER BY run_at LIMIT 2000)

-- name: next_due
SELECT min(run_at) FROM message WHERE status = 1

-- The casts let SQLite use its indexes inside RETURNING.
-- name: claim
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = ?, owner = ?
WHERE id IN (SELECT id FROM message WHERE status = 0 AND queue = ? ORDER BY priority DESC, id LIMIT ?)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = CAST(message.task_id AS TEXT)),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = CAST(message.task_id AS TEXT)
                  AND task.generation >= message.generation AND task.closed = 1),
          priority, limits

-- name: work
SELECT EXISTS (SELECT 1 FROM message WHERE status = 1 AND run_at <= ?1)
    OR EXISTS (SELECT 1 FROM message WHERE status = 0 AND queue IN (SELECT value FROM json_each(?2)))
    OR EXISTS (SELECT 1 FROM message WHERE status = 4 AND queue IN (SELECT value FROM json_each(?2))),
       EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL AND queue IN (SELECT value FROM json_each(?2)))
    OR EXISTS (SELECT 1 FROM slot WHERE freed = 1)
    OR EXISTS (SELECT 1 FROM rate WHERE free_at <= ?3),
       EXISTS (SELECT 1 FROM pause)

-- name: suspect
SELECT id, limits FROM message WHERE status = 4 AND queue = ? AND crashes < ? ORDER BY id LIMIT 1

-- name: last_chances
SELECT EXISTS (SELECT 1 FROM message WHERE status = 4 AND queue IN (SELECT value FROM json_each(?)) AND crashes >= ?
               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))

-- name: claim_suspect
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = ?, owner = ?
WHERE id = ? AND status = 4
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = CAST(message.task_id AS TEXT)),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = CAST(message.task_id AS TEXT)
                  AND task.generation >= message.generation AND task.closed = 1),
          priority, limits

-- name: extend
UPDATE message SET lease_until = ?1
FROM (SELECT json_extract(value, '$[0]') AS row, json_extract(value, '$[1]') AS token FROM json_each(?2)) AS held
WHERE id = held.row AND deliveries = held.token AND status = 2
RETURNING id, deliveries

-- name: start
UPDATE message SET started_at = ? WHERE id = ? AND deliveries = ? AND status = 2

-- name: release
UPDATE message
SET status = iif(?1 IS NULL, iif(?2 OR crashes > 0, 4, iif(limits IS NULL, 0, 7)), 1), run_at = coalesce(?1, run_at), lease_until = NULL,
    started_at = NULL, owner = NULL, crashes = crashes + ?2, snoozes = snoozes + (?1 IS NOT NULL)
WHERE id = ?3 AND deliveries = ?4 AND status = 2

-- name: go_behind
UPDATE message SET id = (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'message') WHERE id = ?

-- name: hand_back
UPDATE message
SET status = iif(crashes > 0, 4, iif(limits IS NULL, 0, 7)), lease_until = NULL, owner = NULL
WHERE id = ? AND deliveries = ? AND status = 2 AND started_at IS NULL

-- name: held
SELECT 1 FROM message WHERE id = ? AND deliveries = ? AND status = 2

-- name: park
UPDATE message
SET status = 3, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = ? AND deliveries = ? AND status = 2

-- name: task_of
SELECT task_id FROM message WHERE id = ? AND deliveries = ? AND status = 2 AND task_id IS NOT NULL

-- name: finish
DELETE FROM message WHERE id = ? AND deliveries = ? AND status = 2

-- name: finish_unsettled
DELETE FROM message WHERE id = ? AND deliveries = ? AND status = 2
RETURNING task_id, key IS NOT NULL

-- name: key_of
SELECT key FROM message WHERE id = ? AND deliveries = ? AND status = 2 AND key IS NOT NULL

-- name: parked_key_holder
SELECT 1 FROM message JOIN idempotency_key USING (key)
WHERE message.id = ? AND deliveries = ? AND message.status = 2 AND idempotency_key.task_id <> message.task_id
  AND idempotency_key.done = 0 AND coalesce(idempotency_key.expires_at, ?3 + 1) > ?3

-- name: expired_leases
SELECT id, deliveries, started_at, task_id, name FROM message
WHERE status = 2 AND lease_until <= ?
LIMIT 500

-- name: reclaim
UPDATE message
SET status = 4, lease_until = NULL, started_at = NULL, owner = NULL, crashes = crashes + ?
WHERE id = ? AND deliveries = ? AND status = 2

-- name: forget_boot
UPDATE message SET lease_until = 0 WHERE status IN (2, 5, 6)

-- name: dead_letter_from_message
INSERT INTO dead_letter (task_id, generation, name, queue, priority, reason, error_type, error, traceback, worker,
                         failed_at, fingerprint, envelope, body, snoozes)
SELECT task_id, generation, name, queue, priority, ?, ?, ?, ?, ?, ?, ?, envelope, body, snoozes
FROM message WHERE id = ? AND deliveries = ? AND status = 2

-- name: retry
UPDATE message
SET queue = ?, priority = ?, status = ?, run_at = ?, expires_at = ?, generation = generation + 1, crashes = 0,
    started_at = NULL, lease_until = NULL, owner = NULL, envelope = ?, body = ?, limits = ?
WHERE id = ? AND deliveries = ? AND status = 2

-- name: ready_count
SELECT (SELECT count(*) FROM message WHERE status = 0 AND queue = ?1)
     + (SELECT count(*) FROM message WHERE status = 4 AND queue = ?1)
     + (SELECT count(*) FROM message WHERE status = 1 AND queue = ?1)
     + (SELECT count(*) FROM message WHERE status = 3 AND queue = ?1)
     + (SELECT count(*) FROM message WHERE status = 7 AND queue = ?1)
     + (SELECT count(*) FROM message WHERE status = 8 AND queue = ?1)

-- name: depths
SELECT queue,
       sum(status IN (0, 4)), sum(status IN (1, 3)), sum(status = 2), sum(status IN (5, 6)), sum(status = 7),
       sum(status = 8),
       min(CASE WHEN status IN (0, 4) THEN max(sent_at, coalesce(run_at, 0)) END)
FROM message GROUP BY queue ORDER BY queue

-- name: purge_ids
SELECT id, task_id, generation, name FROM message WHERE queue = ? AND status <> 2 LIMIT 1000

-- name: delete_message
DELETE FROM message WHERE id = ?

-- name: unpark
UPDATE message SET status = iif(run_at > ?1, 1, iif(crashes > 0, 4, iif(limits IS NULL, 0, 7))) WHERE status = 3 AND key = ?2

-- name: waiting_message
SELECT id, status, generation, name, queue, started_at FROM message WHERE task_id = ?

-- name: in_queues
SELECT task_id FROM message WHERE task_id IN (SELECT value FROM json_each(?))

-- What another broker delivers is a row that is held already, or waits until it is due.
-- name: adopt
INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, key, sent_at, envelope, body,
                     deliveries, lease_until, owner, limits)
VALUES (?, ?, ?, ?, ?, ?, ?, coalesce((SELECT generation FROM task WHERE task_id = ?6), 0), ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING
RETURNING id, generation

-- name: adopted
SELECT EXISTS (SELECT 1 FROM revoked WHERE task_id = ?1), EXISTS (SELECT 1 FROM task WHERE task_id = ?1 AND closed = 1)

-- name: take_over
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = ?, owner = ?
WHERE task_id = ? AND status IN (0, 5)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = CAST(message.task_id AS TEXT)),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = CAST(message.task_id AS TEXT)
                  AND task.generation >= message.generation AND task.closed = 1),
          priority, limits

-- name: take_over_suspect
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = ?, owner = ?
WHERE task_id = ? AND status IN (4, 6) AND crashes < ?
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = CAST(message.task_id AS TEXT)),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = CAST(message.task_id AS TEXT)
                  AND task.generation >= message.generation AND task.closed = 1),
          priority, limits

-- name: passed_over
SELECT 1 FROM message WHERE task_id = ? AND status IN (4, 6)

-- name: outbox_work
SELECT EXISTS (SELECT 1 FROM message WHERE status = 1 AND run_at <= ?1)
    OR EXISTS (SELECT 1 FROM message WHERE status = 0
               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))
    OR EXISTS (SELECT 1 FROM message WHERE status = 4
               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))
    OR EXISTS (SELECT 1 FROM message WHERE status IN (5, 6) AND lease_until <= ?2)
    OR EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL)
    OR EXISTS (SELECT 1 FROM slot WHERE freed = 1)
    OR EXISTS (SELECT 1 FROM rate WHERE free_at <= ?2)

-- Each part by an index of its own.
-- name: take_for_relay
UPDATE message SET status = iif(status IN (4, 6), 6, 5), lease_until = ?1
WHERE id IN (SELECT id FROM (SELECT id FROM message WHERE status = 4 AND limits IS NULL
                                AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue') LIMIT ?3)
             UNION ALL SELECT id FROM (SELECT id FROM message WHERE status = 0
                                       AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue') LIMIT ?3)
             UNION ALL SELECT id FROM (SELECT id FROM message WHERE status IN (5, 6) AND lease_until <= ?2
                                       AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
                                       ORDER BY lease_until LIMIT ?3)
             LIMIT ?3)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, status = 6, 0, 0, priority, limits

-- name: relayed
UPDATE message SET lease_until = ?1
FROM (SELECT json_extract(value, '$[0]') AS row, json_extract(value, '$[1]') AS token FROM json_each(?2)) AS given
WHERE id = given.row AND deliveries = given.token AND status IN (5, 6)

-- Given to the broker at lease_until - again, on the lease clock. Each time takes twice as long.
-- name: relay_again
UPDATE message SET lease_until = 0
WHERE queue = ?1 AND status IN (5, 6) AND lease_until <= ?2 - ?3 + ?4
  AND ?2 - (lease_until - ?4) >= ?5 - ?2 + lease_until - ?4 - sent_at

-- name: broadcast
INSERT INTO broadcast (exchange, routing_key, sent_at, envelope, body) VALUES (?, ?, ?, ?, ?)

-- name: last_broadcast
SELECT coalesce(max(id), 0) FROM broadcast

-- name: listen
SELECT id, exchange, routing_key, envelope, body FROM broadcast
WHERE id > ? AND exchange IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT 500

-- name: prune_broadcast
-- Only the oldest are looked at: there may be many that are younger.
DELETE FROM broadcast WHERE id IN (SELECT id FROM (SELECT id, sent_at FROM broadcast ORDER BY id LIMIT ?2) WHERE sent_at < ?1)

-- name: bind
INSERT INTO binding (exchange, routing_key, pattern, queue, bound_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET bound_at = excluded.bound_at

-- name: unbind
DELETE FROM binding WHERE queue = ?

-- name: bindings
SELECT routing_key, pattern, queue FROM binding WHERE exchange = ?
