-- name: select
SELECT id, task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope, body,
       priority
FROM dead_letter
WHERE (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
  AND (:task IS NULL OR name GLOB :task)
  AND (:queue IS NULL OR queue GLOB :queue)
  AND (:error IS NULL OR instr(lower(error_type || ': ' || error), lower(:error)) > 0)
  AND (:failed_before IS NULL OR failed_at <= :failed_before)
  AND (:failed_after IS NULL OR failed_at >= :failed_after)
  AND id > :after
ORDER BY id LIMIT :limit

-- name: newest
SELECT min(id) FROM (
    SELECT id FROM dead_letter
    WHERE (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
      AND (:task IS NULL OR name GLOB :task)
      AND (:queue IS NULL OR queue GLOB :queue)
      AND (:error IS NULL OR instr(lower(error_type || ': ' || error), lower(:error)) > 0)
      AND (:failed_before IS NULL OR failed_at <= :failed_before)
      AND (:failed_after IS NULL OR failed_at >= :failed_after)
    ORDER BY id DESC LIMIT :limit)

-- name: count
SELECT count(*)
FROM dead_letter
WHERE (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
  AND (:task IS NULL OR name GLOB :task)
  AND (:queue IS NULL OR queue GLOB :queue)
  AND (:error IS NULL OR instr(lower(error_type || ': ' || error), lower(:error)) > 0)
  AND (:failed_before IS NULL OR failed_at <= :failed_before)
  AND (:failed_after IS NULL OR failed_at >= :failed_after)

-- name: delete
DELETE FROM dead_letter WHERE id = ?

-- name: prune
DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE failed_at < ? LIMIT ?)
