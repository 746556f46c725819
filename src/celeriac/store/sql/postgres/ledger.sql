-- name: record
INSERT INTO task (task_id, generation, closed, state, name, queue, worker, retries, started_at, finished_at, result,
                  traceback, meta, expires_at)
VALUES ($1, $2, $3::int::boolean, $4, $5, $6, $7, $8, $9, $10, $11::packed, $12, $13, $14)
ON CONFLICT (task_id) DO UPDATE SET
    generation = excluded.generation, closed = excluded.closed, state = excluded.state,
    name = coalesce(excluded.name, task.name), queue = coalesce(excluded.queue, task.queue), worker = excluded.worker,
    retries = excluded.retries, started_at = coalesce(excluded.started_at, task.started_at),
    finished_at = excluded.finished_at, result = excluded.result, traceback = excluded.traceback,
    meta = excluded.meta, expires_at = excluded.expires_at
WHERE excluded.generation > task.generation
   OR (excluded.generation = task.generation AND NOT task.closed)

-- Ends that have no consequences, as nearly all have: whose lease is still held is deleted, and of those the end is written.
-- `status + 0`, so that no index over all that is held seems to be of use.
-- name: settle_plain
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[],
                         $9::text[], $10::int[], $11::float8[], $12::float8[], $13::bytea[], $14::text[], $15::text[],
                         $16::float8[])
         AS given (row, token, task_id, generation, closed, state, name, queue, worker, retries, started_at, finished_at,
                   result, traceback, meta, expires_at)),
gone AS (
    DELETE FROM message USING given
    WHERE message.id = ANY ($1::bigint[]) AND message.id = given.row AND message.deliveries = given.token
      AND message.status + 0 = 2
    RETURNING message.id),
written AS (
    INSERT INTO task (task_id, generation, closed, state, name, queue, worker, retries, started_at, finished_at, result,
                      traceback, meta, expires_at)
    SELECT task_id, generation, closed = 1, state, name, queue, worker, retries, started_at, finished_at, result,
           traceback, meta, expires_at
    FROM given JOIN gone ON gone.id = given.row
    WHERE state IS NOT NULL
    ON CONFLICT (task_id) DO UPDATE SET
        generation = excluded.generation, closed = excluded.closed, state = excluded.state,
        name = coalesce(excluded.name, task.name), queue = coalesce(excluded.queue, task.queue),
        worker = excluded.worker, retries = excluded.retries,
        started_at = coalesce(excluded.started_at, task.started_at), finished_at = excluded.finished_at,
        result = excluded.result, traceback = excluded.traceback, meta = excluded.meta,
        expires_at = excluded.expires_at
    WHERE excluded.generation > task.generation
       OR (excluded.generation = task.generation AND NOT task.closed))
SELECT coalesce(array_agg(id), '{}') FROM gone

-- name: current_generation
SELECT max(g) FROM (SELECT generation + ($2 AND closed AND state <> 'SUCCESS')::int AS g FROM task WHERE task_id = $1
                    UNION ALL SELECT generation FROM message WHERE task_id = $1) AS known

-- name: get
SELECT task_id, generation, state, closed, name, queue, worker, retries, started_at, finished_at, result, traceback,
       meta, expires_at
FROM task WHERE task_id IN (SELECT jsonb_array_elements_text($1::jsonb))

-- name: live
SELECT task_id, generation, name, queue, owner, status, started_at,
       EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id), snoozes,
       CASE WHEN status = 1 THEN run_at END
FROM message
WHERE task_id IN (SELECT jsonb_array_elements_text($1::jsonb))

-- name: forget_result
UPDATE task SET result = NULL, traceback = NULL, meta = NULL
WHERE task_id = $1 AND closed
  AND ($2::boolean OR EXISTS (SELECT 1 FROM idempotency_key WHERE task_id = $1 AND done = 1))

-- name: forget
DELETE FROM task WHERE task_id = $1 AND closed

-- name: attempt
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: attempt_crashed
WITH held AS MATERIALIZED (
    SELECT * FROM message WHERE id = $3 AND deliveries = $4 AND status = 2 AND task_id IS NOT NULL FOR UPDATE)
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error)
SELECT task_id, generation, started_at, $1::float8, owner, 'crashed', 'WorkerLostError', $2
FROM held

-- name: rejected
WITH held AS MATERIALIZED (
    SELECT * FROM message WHERE id = $3 AND deliveries = $4 AND status = 2 AND task_id IS NOT NULL FOR UPDATE)
INSERT INTO task (task_id, generation, closed, state, name, queue, finished_at, meta, expires_at)
SELECT task_id, generation, true, 'FAILURE', name, queue, $1::float8, '{"why": "rejected"}', $2::float8
FROM held
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, closed = true, state = excluded.state,
    finished_at = excluded.finished_at, result = NULL, traceback = NULL, meta = excluded.meta,
    expires_at = excluded.expires_at
WHERE excluded.generation > task.generation OR NOT task.closed

-- name: purged
INSERT INTO task (task_id, generation, closed, state, name, queue, finished_at, meta, expires_at)
VALUES ($1, $2, true, 'REVOKED', $3, $4, $5, '{"why": "purged"}', $6)
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, closed = true, state = excluded.state,
    finished_at = excluded.finished_at, result = NULL, traceback = NULL, meta = excluded.meta,
    expires_at = excluded.expires_at
WHERE excluded.generation >= task.generation AND (NOT task.closed OR excluded.generation > task.generation)

-- name: attempts
SELECT task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback
FROM attempt WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) ORDER BY id + 0

-- name: save_group
INSERT INTO group_result (group_id, result, expires_at) VALUES ($1, $2::packed, $3)
ON CONFLICT (group_id) DO UPDATE SET result = excluded.result, expires_at = excluded.expires_at

-- name: get_group
SELECT result FROM group_result WHERE group_id = $1

-- name: delete_group
DELETE FROM group_result WHERE group_id = $1

-- name: chord_size
INSERT INTO chord (group_id, size, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, updated_at = excluded.updated_at

-- name: chord_grow
INSERT INTO chord (group_id, grown, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (group_id) DO UPDATE SET grown = chord.grown + $2, updated_at = $3

-- It locks the chord: of two last members the second counts after the first has committed.
-- name: chord_body
INSERT INTO chord (group_id, body, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (group_id) DO UPDATE SET body = coalesce(nullif(chord.body, ''), excluded.body), updated_at = $3

-- name: chord_part
INSERT INTO chord_part (group_id, task_id, position, succeeded, result) VALUES ($1, $2, $3, $4, $5::packed)
ON CONFLICT (group_id, task_id) DO UPDATE SET succeeded = excluded.succeeded, result = excluded.result
WHERE chord_part.succeeded <> 1

-- One that has failed is complete again when its last failure is put right, and when a member fails anew ($3).
-- name: chord_complete
UPDATE chord SET completed_at = $2, state = 'open'
WHERE group_id = $1 AND size IS NOT NULL
  AND (state = 'open' OR (state = 'failed' AND ($3 OR NOT EXISTS (
      SELECT 1 FROM chord_part WHERE group_id = $1 AND succeeded <> 1))))
  AND size + grown <= parts

-- name: chord_parts
SELECT task_id, position, succeeded, result FROM chord_part WHERE group_id = $1 ORDER BY position, task_id

-- name: chord_get
SELECT size, state, body FROM chord WHERE group_id = $1

-- Who found a failure may have looked before it was put right; who has put it right sends the body.
-- name: chord_close
UPDATE chord SET state = $2, updated_at = $3
WHERE group_id = $1 AND state = 'open' AND completed_at IS NOT NULL
  AND ($2 <> 'failed' OR EXISTS (SELECT 1 FROM chord_part WHERE group_id = $1 AND succeeded <> 1))

-- name: chords_waiting
SELECT group_id FROM chord WHERE state = 'open' AND completed_at IS NOT NULL AND completed_at < $1 LIMIT 100

-- name: hasten
UPDATE message SET status = 0 WHERE task_id = $1 AND status IN (1, 3, 7, 8) RETURNING task_id

-- name: revoke
INSERT INTO revoked (task_id, expires_at) VALUES ($1, $2)
ON CONFLICT (task_id) DO UPDATE SET expires_at = excluded.expires_at

-- What follows deletes a slice, the oldest first: how many went, how many were looked at, and how old the last of them is,
-- from where the next slice goes on. It waits for nobody, and of several who prune one schema at once one does it.
-- name: prune_tasks
WITH old AS MATERIALIZED (
    SELECT ctid, expires_at AS at FROM task
    WHERE expires_at < $1 AND expires_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM task WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- The tree of a header is what its chord is joined by, whenever that is.
-- name: prune_groups
WITH old AS MATERIALIZED (
    SELECT ctid, group_id, expires_at AS at FROM group_result
    WHERE expires_at < $1 AND expires_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (
    DELETE FROM group_result WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM old
        WHERE NOT EXISTS (SELECT 1 FROM chord WHERE chord.group_id = old.group_id AND state <> 'sent')))
    RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_revoked
WITH old AS MATERIALIZED (
    SELECT ctid, expires_at AS at FROM revoked
    WHERE expires_at < $1 AND expires_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM revoked WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_keys
WITH old AS MATERIALIZED (
    SELECT ctid, expires_at AS at FROM idempotency_key
    WHERE expires_at < $1 AND expires_at >= $3 AND done = 1
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM idempotency_key WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- Those of a dead letter stay as long as it does. Nobody ever changes one, so none is locked.
-- name: prune_attempts
WITH old AS MATERIALIZED (
    SELECT ctid, task_id, finished_at AS at FROM attempt
    WHERE finished_at < $1 AND finished_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY finished_at LIMIT $2),
gone AS (
    DELETE FROM attempt WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM old WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = old.task_id)))
    RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_chord_parts
WITH old AS MATERIALIZED (
    SELECT chord_part.ctid, group_id, chord.updated_at AS at FROM chord JOIN chord_part USING (group_id)
    WHERE chord.state <> 'open' AND chord.updated_at < $1 AND chord.updated_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY chord.updated_at LIMIT $2 FOR UPDATE OF chord_part SKIP LOCKED),
gone AS (
    DELETE FROM chord_part WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM old WHERE NOT EXISTS (
            SELECT 1 FROM letter_chord JOIN dead_letter USING (task_id) WHERE letter_chord.group_id = old.group_id)))
    RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_chords
WITH old AS MATERIALIZED (
    SELECT ctid, updated_at AS at FROM chord
    WHERE state <> 'open' AND updated_at < $1 AND updated_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
          AND NOT EXISTS (SELECT 1 FROM chord_part WHERE chord_part.group_id = chord.group_id)
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM chord WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_bindings
WITH old AS MATERIALIZED (
    SELECT ctid, bound_at AS at FROM binding
    WHERE bound_at < $1 AND bound_at >= $3 AND queue LIKE '%.reply.celery.pidbox'
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY bound_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM binding WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
