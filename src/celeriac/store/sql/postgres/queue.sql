-- name: next_generations
SELECT task_id, generation + closed::int FROM task WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))

-- name: publish
INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, key, sent_at, envelope, body,
                     limits)
VALUES ($1, $2, $3, $4, $5, $6, $7,
        coalesce($8::int, (SELECT generation + closed::int FROM task WHERE task_id = $6), 0),
        $9, $10, $11, $12::packed, $13)
ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING

-- All of them in one round trip.
-- name: publish_many
WITH sent AS (
    INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, sent_at, envelope, body,
                         limits, key)
    SELECT queue, priority, status, run_at, expires_at, task_id, name,
           coalesce(given.generation, (SELECT task.generation + closed::int FROM task WHERE task.task_id = given.task_id), 0),
           $9::float8, envelope, body, limits, key
    FROM unnest($1::text[], $2::int[], $3::int[], $4::float8[], $5::float8[], $6::text[], $7::text[], $8::int[],
                $10::text[], $11::bytea[], $12::text[], $13::text[])
         WITH ORDINALITY
         AS given (queue, priority, status, run_at, expires_at, task_id, name, generation, envelope, body, limits, key, place)
    ORDER BY place
    ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING
    RETURNING task_id)
SELECT array_agg(task_id) FROM sent

-- A row's xmin has 32 of the 64 bits of the number by which its transaction, or subtransaction, is asked after.
-- name: written_by
SELECT pg_notify($1, ''), (
    SELECT high * 4294967296 + low + CASE WHEN low < top % 4294967296 THEN 4294967296 ELSE 0 END
    FROM message, LATERAL (SELECT xmin::text::bigint AS low, txid_current() AS top) AS numbers,
         LATERAL (SELECT top / 4294967296 AS high) AS epoch
    WHERE task_id = $2)

-- name: transaction_status
SELECT txid_status($1)

-- name: promote
UPDATE message SET status = CASE WHEN crashes > 0 THEN 4 WHEN limits IS NULL THEN 0 ELSE 7 END
WHERE id = ANY (ARRAY(SELECT id FROM message WHERE status = 1 AND run_at <= $1 ORDER BY run_at LIMIT 2000
                      FOR UPDATE SKIP LOCKED))

-- name: next_due
SELECT min(run_at) FROM message WHERE status = 1

-- name: claim
WITH chosen AS MATERIALIZED (
    SELECT id FROM message WHERE status = 0 AND queue = $3 ORDER BY priority DESC, id LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
WHERE id = ANY (ARRAY(SELECT id FROM chosen))
RETURNING message.id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                  AND task.generation >= message.generation AND task.closed),
          priority, limits

-- The same where tasks are paused: what is of these is set aside. There is always a row, which says how many those were.
-- name: claim_unpaused
WITH head AS MATERIALIZED (
    SELECT id, task_id, name FROM message WHERE status = 0 AND queue = $3
    ORDER BY priority DESC, id LIMIT $4 FOR UPDATE SKIP LOCKED),
paused AS MATERIALIZED (
    SELECT id FROM head WHERE name IN (SELECT pause.name FROM pause WHERE kind = 'task')
    AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = head.task_id)),
aside AS (UPDATE message SET status = 8 WHERE id = ANY (ARRAY(SELECT id FROM paused))),
taken AS (
    UPDATE message
    SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
    WHERE id = ANY (ARRAY(SELECT id FROM head EXCEPT SELECT id FROM paused))
    RETURNING message.id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
              EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
              EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                      AND task.generation >= message.generation AND task.closed),
              priority, limits)
SELECT held.count, taken.* FROM (SELECT count(*) FROM paused) AS held LEFT JOIN taken ON true

-- name: work
SELECT EXISTS (SELECT 1 FROM message WHERE status = 1 AND run_at <= $1)
    OR EXISTS (SELECT 1 FROM message WHERE status = 0 AND queue IN (SELECT jsonb_array_elements_text($2::jsonb)))
    OR EXISTS (SELECT 1 FROM message WHERE status = 4 AND queue IN (SELECT jsonb_array_elements_text($2::jsonb))),
       EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL AND queue IN (SELECT jsonb_array_elements_text($2::jsonb)))
    OR EXISTS (SELECT 1 FROM lane_entered) OR EXISTS (SELECT 1 FROM slot WHERE freed)
    OR EXISTS (SELECT 1 FROM rate WHERE free_at <= $3),
       EXISTS (SELECT 1 FROM pause)

-- What there is to claim: something due, something suspect that may be, something ready. And which queues, and whether tasks, are
-- paused.
-- name: look
SELECT EXISTS (SELECT 1 FROM message WHERE status = 1 AND run_at <= $1),
       EXISTS (SELECT 1 FROM message WHERE status = 4 AND queue = ANY ($2::text[]) AND crashes < $3),
       EXISTS (SELECT 1 FROM message WHERE status = 0 AND queue = ANY ($2::text[])),
       EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL AND queue = ANY ($2::text[]))
           OR EXISTS (SELECT 1 FROM lane_entered) OR EXISTS (SELECT 1 FROM slot WHERE freed)
           OR EXISTS (SELECT 1 FROM rate WHERE free_at <= $4),
       ARRAY(SELECT name FROM pause WHERE kind = 'queue'),
       EXISTS (SELECT 1 FROM pause WHERE kind = 'task')

-- name: suspect
SELECT id, limits FROM message
WHERE status = 4 AND queue = $1 AND crashes < $2 ORDER BY id + 0 LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: last_chances
SELECT EXISTS (SELECT 1 FROM message
               WHERE status = 4 AND queue IN (SELECT jsonb_array_elements_text($1::jsonb)) AND crashes >= $2
                 AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))

-- name: claim_suspect
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
WHERE id = $3 AND status = 4
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                  AND task.generation >= message.generation AND task.closed),
          priority, limits

-- name: extend
UPDATE message SET lease_until = $1
FROM (SELECT (value->>0)::bigint AS row, (value->>1)::int AS token FROM jsonb_array_elements($2::jsonb) AS value) AS held
WHERE id = ANY (ARRAY(SELECT (value->>0)::bigint FROM jsonb_array_elements($2::jsonb) AS value))
  AND id = held.row AND deliveries = held.token AND status + 0 = 2
RETURNING id, deliveries

-- name: start
UPDATE message SET started_at = $1 WHERE id = $2 AND deliveries = $3 AND status = 2

-- name: release
UPDATE message
SET status = CASE WHEN $1::float8 IS NOT NULL THEN 1 WHEN $2 = 1 OR crashes > 0 THEN 4 WHEN limits IS NULL THEN 0 ELSE 7 END,
    run_at = coalesce($1, run_at), lease_until = NULL, started_at = NULL, owner = NULL, crashes = crashes + $2,
    snoozes = snoozes + ($1 IS NOT NULL)::int
WHERE id = $3 AND deliveries = $4 AND status = 2

-- name: go_behind
UPDATE message SET id = DEFAULT WHERE id = $1

-- name: hand_back
UPDATE message
SET status = CASE WHEN crashes > 0 THEN 4 WHEN limits IS NULL THEN 0 ELSE 7 END, lease_until = NULL, owner = NULL
WHERE id = $1 AND deliveries = $2 AND status = 2 AND started_at IS NULL

-- name: held
SELECT 1 FROM message WHERE id = $1 AND deliveries = $2 AND status = 2

-- name: park
UPDATE message
SET status = 3, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = $1 AND deliveries = $2 AND status = 2

-- name: task_of
SELECT task_id FROM message WHERE id = $1 AND deliveries = $2 AND status = 2 AND task_id IS NOT NULL FOR UPDATE

-- name: finish
DELETE FROM message WHERE id = $1 AND deliveries = $2 AND status = 2

-- name: finish_unsettled
DELETE FROM message WHERE id = $1 AND deliveries = $2 AND status = 2
RETURNING task_id, key IS NOT NULL

-- name: key_of
SELECT key FROM message WHERE id = $1 AND deliveries = $2 AND status = 2 AND key IS NOT NULL

-- name: parked_key_holder
SELECT 1 FROM message JOIN idempotency_key USING (key)
WHERE message.id = $1 AND deliveries = $2 AND message.status = 2 AND idempotency_key.task_id <> message.task_id
  AND idempotency_key.done = 0 AND coalesce(idempotency_key.expires_at, $3 + 1) > $3

-- Locked, so that of two who reclaim only one counts the crash.
-- name: expired_leases
SELECT id, deliveries, started_at, task_id, name FROM message
WHERE status = 2 AND lease_until <= $1
LIMIT 500 FOR UPDATE SKIP LOCKED

-- name: reclaim
UPDATE message
SET status = 4, lease_until = NULL, started_at = NULL, owner = NULL, crashes = crashes + $1
WHERE id = $2 AND deliveries = $3 AND status = 2

-- Here and in what follows the row is locked before it is copied: reclaimed in between, it would be copied and kept.
-- name: dead_letter_from_message
WITH held AS MATERIALIZED (SELECT * FROM message WHERE id = $8 AND deliveries = $9 AND status = 2 FOR UPDATE)
INSERT INTO dead_letter (task_id, generation, name, queue, priority, reason, error_type, error, traceback, worker,
                         failed_at, fingerprint, envelope, body, snoozes)
SELECT task_id, generation, name, queue, priority, $1, $2, $3, $4, $5, $6::float8, $7, envelope, body, snoozes
FROM held

-- name: retry
UPDATE message
SET queue = $1, priority = $2, status = $3, run_at = $4, expires_at = $5, generation = generation + 1, crashes = 0,
    started_at = NULL, lease_until = NULL, owner = NULL, envelope = $6, body = $7::packed, limits = $8
WHERE id = $9 AND deliveries = $10 AND status = 2

-- name: ready_count
SELECT count(*) FROM message WHERE queue = $1 AND status IN (0, 1, 3, 4, 7, 8)

-- name: depths
SELECT queue,
       count(*) FILTER (WHERE status IN (0, 4)), count(*) FILTER (WHERE status IN (1, 3)),
       count(*) FILTER (WHERE status = 2), count(*) FILTER (WHERE status IN (5, 6)),
       count(*) FILTER (WHERE status = 7), count(*) FILTER (WHERE status = 8),
       min(greatest(sent_at, coalesce(run_at, 0))) FILTER (WHERE status IN (0, 4))
FROM message GROUP BY queue ORDER BY queue

-- name: purge_ids
SELECT id, task_id, generation, name FROM message WHERE queue = $1 AND status <> 2 LIMIT 1000 FOR UPDATE SKIP LOCKED

-- name: delete_message
DELETE FROM message WHERE id = $1

-- name: unpark
UPDATE message SET status = CASE WHEN run_at > $1 THEN 1 WHEN crashes > 0 THEN 4 WHEN limits IS NULL THEN 0 ELSE 7 END
WHERE status = 3 AND key = $2

-- name: waiting_message
SELECT id, status, generation, name, queue, started_at FROM message WHERE task_id = $1

-- name: in_queues
SELECT task_id FROM message WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))

-- The row is inserted before the end of its task is looked for: an end that takes the row away is then to be seen.
-- name: adopt
INSERT INTO message (queue, priority, status, run_at, expires_at, task_id, name, generation, key, sent_at, envelope, body,
                     deliveries, lease_until, owner, limits)
VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce((SELECT generation FROM task WHERE task_id = $6), 0), $8, $9, $10,
        $11::packed, $12, $13, $14, $15)
ON CONFLICT (task_id) WHERE task_id IS NOT NULL DO NOTHING
RETURNING id, generation

-- name: adopted
SELECT EXISTS (SELECT 1 FROM revoked WHERE task_id = $1), EXISTS (SELECT 1 FROM task WHERE task_id = $1 AND closed)

-- name: take_over
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
WHERE task_id = $3 AND status IN (0, 5)
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 0,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                  AND task.generation >= message.generation AND task.closed),
          priority, limits

-- name: take_over_suspect
UPDATE message
SET status = 2, deliveries = deliveries + 1, started_at = NULL, lease_until = $1, owner = $2
WHERE task_id = $3 AND status IN (4, 6) AND crashes < $4
RETURNING id, deliveries, queue, envelope, body, task_id, generation, crashes, 1,
          EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id),
          EXISTS (SELECT 1 FROM task WHERE task.task_id = message.task_id
                  AND task.generation >= message.generation AND task.closed),
          priority, limits

-- name: passed_over
SELECT 1 FROM message WHERE task_id = $1 AND status IN (4, 6)

-- name: outbox_work
SELECT EXISTS (SELECT 1 FROM message WHERE status = 1 AND run_at <= $1)
    OR EXISTS (SELECT 1 FROM message WHERE status = 0
               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))
    OR EXISTS (SELECT 1 FROM message WHERE status = 4
               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue'))
    OR EXISTS (SELECT 1 FROM message WHERE status IN (5, 6) AND lease_until <= $2)
    OR EXISTS (SELECT 1 FROM lane WHERE blocked_on IS NULL) OR EXISTS (SELECT 1 FROM lane_entered)
    OR EXISTS (SELECT 1 FROM slot WHERE freed) OR EXISTS (SELECT 1 FROM rate WHERE free_at <= $2)

-- name: take_for_relay
WITH suspect AS MATERIALIZED (SELECT id FROM message WHERE status = 4 AND limits IS NULL
                                 AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
                                 LIMIT $3 FOR UPDATE SKIP LOCKED),
     ready AS MATERIALIZED (SELECT id FROM message WHERE status = 0
                               AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
                               LIMIT $3 FOR UPDATE SKIP LOCKED),
     overdue AS MATERIALIZED (SELECT id FROM message WHERE status IN (5, 6) AND lease_until <= $2
                                AND queue NOT IN (SELECT pause.name FROM pause WHERE kind = 'queue')
                              ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED),
     chosen AS MATERIALIZED (SELECT id FROM suspect UNION ALL SELECT id FROM ready UNION ALL SELECT id FROM overdue LIMIT $3)
UPDATE message SET status = CASE WHEN status IN (4, 6) THEN 6 ELSE 5 END, lease_until = $1
WHERE id = ANY (ARRAY(SELECT id FROM chosen))
RETURNING message.id, deliveries, queue, envelope, body, task_id, generation, crashes, status = 6, false, false, priority, limits

-- name: relayed
UPDATE message SET lease_until = $1
FROM (SELECT (value->>0)::bigint AS row, (value->>1)::int AS token FROM jsonb_array_elements($2::jsonb) AS value) AS given
WHERE id = given.row AND deliveries = given.token AND status IN (5, 6)

-- Given to the broker at lease_until - again, on the lease clock. Each time takes twice as long.
-- name: relay_again
UPDATE message SET lease_until = 0
WHERE queue = $1 AND status IN (5, 6) AND lease_until <= $2::float8 - $3::float8 + $4::float8
  AND $2::float8 - (lease_until - $4::float8) >= $5::float8 - $2::float8 + lease_until - $4::float8 - sent_at

-- One after the other: a listener that has seen a number would miss a lower one that commits later.
-- name: broadcast
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended('celeriac broadcast', 0)))
INSERT INTO broadcast (exchange, routing_key, sent_at, envelope, body)
SELECT $1, $2, $3::float8, $4, $5::packed FROM turn

-- name: last_broadcast
SELECT coalesce(max(id), 0) FROM broadcast

-- name: listen
SELECT id, exchange, routing_key, envelope, body FROM broadcast
WHERE id > $1 AND exchange IN (SELECT jsonb_array_elements_text($2::jsonb)) ORDER BY id LIMIT 500

-- name: prune_broadcast
WITH old AS MATERIALIZED (
    SELECT ctid, sent_at AS at FROM (SELECT ctid, sent_at FROM broadcast ORDER BY id LIMIT $2) AS oldest
    WHERE sent_at < $1 AND sent_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))),
gone AS (DELETE FROM broadcast WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: bind
INSERT INTO binding (exchange, routing_key, pattern, queue, bound_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (exchange, routing_key, pattern, queue) DO UPDATE SET bound_at = excluded.bound_at

-- name: unbind
DELETE FROM binding WHERE queue = $1

-- name: bindings
SELECT routing_key, pattern, queue FROM binding WHERE exchange = $1
