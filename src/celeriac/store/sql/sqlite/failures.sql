-- name: chosen
(?1 IS NULL OR name GLOB ?1)
  AND (?2 IS NULL OR queue GLOB ?2)
  AND (?3 IS NULL OR instr(lower(error_type || ': ' || error), lower(?3)) > 0)
  AND (?4 IS NULL OR failed_at <= ?4)
  AND (?5 IS NULL OR failed_at >= ?5)

-- name: select
SELECT task_id, generation, name, queue, worker, error_type, error, failed_at
FROM failure
WHERE {chosen} AND (failed_at, task_id) > (?6, ?7)
ORDER BY failed_at, task_id LIMIT ?8

-- name: newest
SELECT task_id, generation, name, queue, worker, error_type, error, failed_at
FROM failure
WHERE {chosen}
ORDER BY failed_at DESC, task_id DESC LIMIT ?6

-- name: count
SELECT count(*) FROM failure WHERE {chosen}

-- name: write
INSERT INTO failure (task_id, generation, name, queue, worker, error_type, error, failed_at, lettered)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, name = excluded.name, queue = excluded.queue,
    worker = excluded.worker, error_type = excluded.error_type, error = excluded.error, failed_at = excluded.failed_at,
    lettered = excluded.lettered

-- name: rejected
INSERT INTO failure (task_id, generation, name, queue, error_type, error, failed_at, lettered)
SELECT task_id, generation, name, queue, ?1, ?2, ?3, 1
FROM message WHERE id = ?4 AND deliveries = ?5 AND status = 2 AND task_id IS NOT NULL
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, name = excluded.name, queue = excluded.queue,
    worker = NULL, error_type = excluded.error_type, error = excluded.error, failed_at = excluded.failed_at, lettered = 1

-- name: unread
SELECT task_id FROM failure WHERE task_id IN (SELECT value FROM json_each(?))

-- name: read
DELETE FROM failure WHERE task_id = ?

-- name: read_all
DELETE FROM failure WHERE task_id IN (SELECT value FROM json_each(?))

-- name: prune
DELETE FROM failure WHERE task_id IN (SELECT task_id FROM failure WHERE failed_at < ? AND lettered = 0 LIMIT ?)

-- What has a dead letter goes with it, and at the latest when all letters of its age have gone.
-- name: prune_lettered
DELETE FROM failure WHERE task_id IN (SELECT task_id FROM failure WHERE failed_at < ? AND lettered = 1 LIMIT ?)
