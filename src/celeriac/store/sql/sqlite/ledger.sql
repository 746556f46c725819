-- name: record
INSERT INTO task (task_id, generation, closed, state, name, queue, worker, retries, started_at, finished_at, result,
                  traceback, meta, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET
    generation = excluded.generation, closed = excluded.closed, state = excluded.state,
    name = coalesce(excluded.name, name), queue = coalesce(excluded.queue, queue), worker = excluded.worker,
    retries = excluded.retries, started_at = coalesce(excluded.started_at, started_at),
    finished_at = excluded.finished_at, result = excluded.result, traceback = excluded.traceback,
    meta = excluded.meta, expires_at = excluded.expires_at
WHERE excluded.generation > task.generation
   OR (excluded.generation = task.generation AND task.closed = 0)

-- name: current_generation
SELECT max(g) FROM (SELECT generation + (?2 AND closed AND state <> 'SUCCESS') AS g FROM task WHERE task_id = ?1
                    UNION ALL SELECT generation FROM message WHERE task_id = ?1)

-- name: get
SELECT task_id, generation, state, closed, name, queue, worker, retries, started_at, finished_at, result, traceback,
       meta, expires_at
FROM task WHERE task_id IN (SELECT value FROM json_each(?))

-- name: live
SELECT task_id, generation, name, queue, owner, status, started_at,
       EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id), snoozes, iif(status = 1, run_at, NULL)
FROM message
WHERE task_id IN (SELECT value FROM json_each(?))

-- name: forget_result
UPDATE task SET result = NULL, traceback = NULL, meta = NULL
WHERE task_id = ?1 AND closed = 1
  AND (?2 OR EXISTS (SELECT 1 FROM idempotency_key WHERE task_id = ?1 AND done = 1))

-- name: forget
DELETE FROM task WHERE task_id = ? AND closed = 1

-- name: attempt
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: attempt_crashed
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error)
SELECT task_id, generation, started_at, ?, owner, 'crashed', 'WorkerLostError', ?
FROM message WHERE id = ? AND deliveries = ? AND status = 2 AND task_id IS NOT NULL

-- name: rejected
INSERT INTO task (task_id, generation, closed, state, name, queue, finished_at, meta, expires_at)
SELECT task_id, generation, 1, 'FAILURE', name, queue, ?1, '{"why": "rejected"}', ?2
FROM message WHERE id = ?3 AND deliveries = ?4 AND status = 2 AND task_id IS NOT NULL
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, closed = 1, state = excluded.state,
    finished_at = excluded.finished_at, result = NULL, traceback = NULL, meta = excluded.meta,
    expires_at = excluded.expires_at
WHERE excluded.generation > task.generation OR task.closed = 0

-- name: purged
INSERT INTO task (task_id, generation, closed, state, name, queue, finished_at, meta, expires_at)
VALUES (?, ?, 1, 'REVOKED', ?, ?, ?, '{"why": "purged"}', ?)
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, closed = 1, state = excluded.state,
    finished_at = excluded.finished_at, result = NULL, traceback = NULL, meta = excluded.meta,
    expires_at = excluded.expires_at
WHERE excluded.generation >= task.generation AND (task.closed = 0 OR excluded.generation > task.generation)

-- name: attempts
SELECT task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback
FROM attempt WHERE task_id IN (SELECT value FROM json_each(?)) ORDER BY id

-- name: save_group
INSERT INTO group_result (group_id, result, expires_at) VALUES (?, ?, ?)
ON CONFLICT (group_id) DO UPDATE SET result = excluded.result, expires_at = excluded.expires_at

-- name: get_group
SELECT result FROM group_result WHERE group_id = ?

-- name: delete_group
DELETE FROM group_result WHERE group_id = ?

-- name: chord_size
INSERT INTO chord (group_id, size, updated_at) VALUES (?1, ?2, ?3)
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, updated_at = excluded.updated_at

-- name: chord_grow
INSERT INTO chord (group_id, grown, updated_at) VALUES (?1, ?2, ?3)
ON CONFLICT (group_id) DO UPDATE SET grown = grown + ?2, updated_at = ?3

-- name: chord_body
INSERT INTO chord (group_id, body, updated_at) VALUES (?1, ?2, ?3)
ON CONFLICT (group_id) DO UPDATE SET body = coalesce(nullif(body, ''), excluded.body), updated_at = ?3

-- name: chord_part
INSERT INTO chord_part (group_id, task_id, position, succeeded, result) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (group_id, task_id) DO UPDATE SET succeeded = excluded.succeeded, result = excluded.result
WHERE chord_part.succeeded <> 1

-- One that has failed is complete again when its last failure is put right, and when a member fails anew (?3).
-- name: chord_complete
UPDATE chord SET completed_at = ?2, state = 'open'
WHERE group_id = ?1 AND size IS NOT NULL
  AND (state = 'open' OR (state = 'failed' AND (?3 OR NOT EXISTS (
      SELECT 1 FROM chord_part WHERE group_id = ?1 AND succeeded <> 1))))
  AND size + grown <= parts

-- name: chord_parts
SELECT task_id, position, succeeded, result FROM chord_part WHERE group_id = ? ORDER BY position, task_id

-- name: chord_get
SELECT size, state, body FROM chord WHERE group_id = ?

-- Who found a failure may have looked before it was put right; who has put it right sends the body.
-- name: chord_close
UPDATE chord SET state = ?2, updated_at = ?3
WHERE group_id = ?1 AND state = 'open' AND completed_at IS NOT NULL
  AND (?2 <> 'failed' OR EXISTS (SELECT 1 FROM chord_part WHERE group_id = ?1 AND succeeded <> 1))

-- name: chords_waiting
SELECT group_id FROM chord WHERE state = 'open' AND completed_at IS NOT NULL AND completed_at < ? LIMIT 100

-- name: hasten
UPDATE message SET status = 0 WHERE task_id = ? AND status IN (1, 3, 7, 8) RETURNING task_id

-- name: revoke
INSERT INTO revoked (task_id, expires_at) VALUES (?, ?)
ON CONFLICT (task_id) DO UPDATE SET expires_at = excluded.expires_at

-- Every deletion is limited, so that no publish waits long for the pruner.
-- name: prune_tasks
DELETE FROM task WHERE rowid IN (SELECT rowid FROM task WHERE expires_at < ? LIMIT ?)

-- name: prune_attempts
DELETE FROM attempt WHERE id IN (
    SELECT id FROM attempt WHERE finished_at < ?
    AND task_id NOT IN (SELECT task_id FROM dead_letter) LIMIT ?)

-- The tree of a header is what its chord is joined by, whenever that is.
-- name: prune_groups
DELETE FROM group_result WHERE group_id IN (
    SELECT group_id FROM group_result WHERE expires_at < ?
    AND NOT EXISTS (SELECT 1 FROM chord WHERE chord.group_id = group_result.group_id AND state <> 'sent') LIMIT ?)

-- name: prune_revoked
DELETE FROM revoked WHERE task_id IN (SELECT task_id FROM revoked WHERE expires_at < ? LIMIT ?)

-- name: prune_keys
DELETE FROM idempotency_key WHERE key IN (SELECT key FROM idempotency_key WHERE done = 1 AND expires_at < ? LIMIT ?)

-- name: prune_chord_parts
DELETE FROM chord_part WHERE (group_id, task_id) IN (
    SELECT chord_part.group_id, chord_part.task_id FROM chord JOIN chord_part USING (group_id)
    WHERE chord.state <> 'open' AND chord.updated_at < ?
    AND NOT EXISTS (SELECT 1 FROM letter_chord JOIN dead_letter USING (task_id)
                    WHERE letter_chord.group_id = chord.group_id) LIMIT ?)

-- name: prune_chords
DELETE FROM chord WHERE group_id IN (
    SELECT group_id FROM chord WHERE state <> 'open' AND updated_at < ?
    AND NOT EXISTS (SELECT 1 FROM chord_part WHERE chord_part.group_id = chord.group_id) LIMIT ?)

-- name: prune_bindings
DELETE FROM binding WHERE (exchange, routing_key, pattern, queue) IN (
    SELECT exchange, routing_key, pattern, queue FROM binding
    WHERE bound_at < ? AND queue LIKE '%.reply.celery.pidbox' LIMIT ?)
