-- name: holder
SELECT task_id, digest, done, expires_at FROM idempotency_key WHERE key = ?

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
