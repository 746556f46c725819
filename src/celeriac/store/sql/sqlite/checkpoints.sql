-- By who holds the lease, and nobody else: a run whose lease was lost moves no cursor.
-- name: save
INSERT INTO checkpoint (task_id, cursors, done, total, note, at, token)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, iif(?2 IS NULL, 0, ?8) FROM message WHERE id = ?7 AND deliveries = ?8 AND status = 2
ON CONFLICT (task_id) DO UPDATE
SET token = iif(excluded.cursors IS NULL, token, excluded.token), cursors = coalesce(excluded.cursors, cursors),
    done = excluded.done, total = excluded.total, note = excluded.note, at = excluded.at, expires_at = NULL

-- name: absolve
UPDATE message SET crashes = 0 WHERE id = ? AND deliveries = ? AND status = 2

-- name: settle
INSERT INTO checkpoint (task_id, cursors, done, total, note, at, token) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE
SET token = iif(excluded.cursors IS NULL, token, excluded.token), cursors = coalesce(excluded.cursors, cursors),
    done = excluded.done, total = excluded.total, note = excluded.note, at = excluded.at, expires_at = NULL

-- name: over
UPDATE checkpoint SET cursors = NULL, expires_at = ?2 WHERE task_id = ?1

-- name: from_start
UPDATE checkpoint SET cursors = NULL WHERE task_id IN (SELECT value FROM json_each(?))

-- name: get
SELECT task_id, done, total, note, cursors, at, token FROM checkpoint
WHERE task_id IN (SELECT value FROM json_each(?))

-- name: forget
DELETE FROM checkpoint WHERE task_id = ? AND cursors IS NULL

-- name: prune
DELETE FROM checkpoint WHERE task_id IN (SELECT task_id FROM checkpoint WHERE expires_at < ? LIMIT ?)

-- name: prune_open
DELETE FROM checkpoint WHERE task_id IN (
    SELECT task_id FROM checkpoint WHERE expires_at IS NULL AND at < ?
    AND NOT EXISTS (SELECT 1 FROM message WHERE message.task_id = checkpoint.task_id)
    AND NOT EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = checkpoint.task_id) LIMIT ?)
