-- By who holds the lease, and nobody else: a run whose lease was lost moves no cursor. The message's row is locked, since
-- another run could begin, and save, between the look at it and the write.
-- name: save
INSERT INTO checkpoint (task_id, cursors, done, total, note, at, token)
SELECT $1, $2, $3, $4, $5, $6, CASE WHEN $2::text IS NULL THEN 0 ELSE $8::bigint END
FROM message WHERE id = $7 AND deliveries = $8::bigint AND status = 2 FOR NO KEY UPDATE
ON CONFLICT (task_id) DO UPDATE
SET token = CASE WHEN excluded.cursors IS NULL THEN checkpoint.token ELSE excluded.token END,
    cursors = coalesce(excluded.cursors, checkpoint.cursors),
    done = excluded.done, total = excluded.total, note = excluded.note, at = excluded.at, expires_at = NULL

-- name: absolve
UPDATE message SET crashes = 0 WHERE id = $1 AND deliveries = $2 AND status = 2

-- name: settle
INSERT INTO checkpoint (task_id, cursors, done, total, note, at, token) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (task_id) DO UPDATE
SET token = CASE WHEN excluded.cursors IS NULL THEN checkpoint.token ELSE excluded.token END,
    cursors = coalesce(excluded.cursors, checkpoint.cursors),
    done = excluded.done, total = excluded.total, note = excluded.note, at = excluded.at, expires_at = NULL

-- name: over
UPDATE checkpoint SET cursors = NULL, expires_at = $2 WHERE task_id = $1

-- name: from_start
UPDATE checkpoint SET cursors = NULL WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))

-- name: get
SELECT task_id, done, total, note, cursors, at, token FROM checkpoint
WHERE task_id IN (SELECT jsonb_array_elements_text($1::jsonb))

-- name: forget
DELETE FROM checkpoint WHERE task_id = $1 AND cursors IS NULL

-- name: prune
WITH old AS MATERIALIZED (
    SELECT ctid, expires_at AS at FROM checkpoint
    WHERE expires_at < $1 AND expires_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM checkpoint WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_open
WITH old AS MATERIALIZED (
    SELECT ctid, task_id, at FROM checkpoint
    WHERE expires_at IS NULL AND at < $1 AND at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (
    DELETE FROM checkpoint WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM old WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.task_id = old.task_id)
                               AND NOT EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = old.task_id)))
    RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
