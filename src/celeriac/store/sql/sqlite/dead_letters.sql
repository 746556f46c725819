-- name: select
SELECT id, task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope, body,
       priority
FROM dead_letter
WHERE (?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))
  AND (?2 IS NULL OR name GLOB ?2)
  AND (?3 IS NULL OR queue GLOB ?3)
  AND (?4 IS NULL OR instr(lower(error_type || ': ' || error), lower(?4)) > 0)
  AND (?5 IS NULL OR failed_at <= ?5)
  AND (?6 IS NULL OR failed_at >= ?6)
  AND id > ?7
ORDER BY id LIMIT ?8

-- name: newest
SELECT min(id) FROM (
    SELECT id FROM dead_letter
    WHERE (?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))
      AND (?2 IS NULL OR name GLOB ?2)
      AND (?3 IS NULL OR queue GLOB ?3)
      AND (?4 IS NULL OR instr(lower(error_type || ': ' || error), lower(?4)) > 0)
      AND (?5 IS NULL OR failed_at <= ?5)
      AND (?6 IS NULL OR failed_at >= ?6)
    ORDER BY id DESC LIMIT ?7)

-- name: count
SELECT count(*)
FROM dead_letter
WHERE (?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))
  AND (?2 IS NULL OR name GLOB ?2)
  AND (?3 IS NULL OR queue GLOB ?3)
  AND (?4 IS NULL OR instr(lower(error_type || ': ' || error), lower(?4)) > 0)
  AND (?5 IS NULL OR failed_at <= ?5)
  AND (?6 IS NULL OR failed_at >= ?6)

-- name: delete
DELETE FROM dead_letter WHERE id = ?

-- name: prune
DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE failed_at < ? LIMIT ?)
