-- name: holder
-- What waits and was revoked, or has expired, is never run: it holds nothing. What is claimed may be running.
SELECT task_id, digest, done, expires_at FROM idempotency_key AS held
WHERE key = ?1 AND NOT (done = 0 AND EXISTS (
    SELECT 1 FROM message WHERE message.task_id = held.task_id AND message.status <> 2
    AND (message.expires_at <= ?2 OR EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = held.task_id))))

-- name: take
INSERT INTO idempotency_key (key, task_id, digest, ttl) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    task_id = excluded.task_id, digest = excluded.digest, ttl = excluded.ttl, done = 0, expires_at = NULL

-- name: keep
UPDATE idempotency_key SET done = 1, expires_at = ? + ttl WHERE key = ? AND task_id = ?

-- name: held_by
SELECT key FROM idempotency_key WHERE task_id = ? AND done = 0

-- name: free
DELETE FROM idempotency_key WHERE key = ? AND task_id = ?
