-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended($1, 7))

-- name: holder
SELECT task_id, digest, done, expires_at FROM idempotency_key AS held
WHERE key = $1 AND NOT (done = 0 AND EXISTS (
    SELECT 1 FROM message WHERE message.task_id = held.task_id AND message.status <> 2
    AND (message.expires_at <= $2 OR EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = held.task_id))))

-- name: take
INSERT INTO idempotency_key (key, task_id, digest, ttl) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET
    task_id = excluded.task_id, digest = excluded.digest, ttl = excluded.ttl, done = 0, expires_at = NULL

-- name: keep
UPDATE idempotency_key SET done = 1, expires_at = $1 + ttl WHERE key = $2 AND task_id = $3

-- name: held_by
SELECT key FROM idempotency_key WHERE task_id = $1 AND done = 0

-- name: free
DELETE FROM idempotency_key WHERE key = $1 AND task_id = $2
