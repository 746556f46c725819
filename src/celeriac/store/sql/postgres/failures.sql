-- name: chosen
($1::text IS NULL OR name ~ $1)
  AND ($2::text IS NULL OR queue ~ $2)
  AND ($3::text IS NULL OR strpos(lower(error_type || ': ' || error), lower($3)) > 0)
  AND ($4::float8 IS NULL OR failed_at <= $4)
  AND ($5::float8 IS NULL OR failed_at >= $5)

-- name: select
SELECT task_id, generation, name, queue, worker, error_type, error, failed_at
FROM failure
WHERE {chosen} AND (failed_at, task_id) > ($6::float8, $7::text)
ORDER BY failed_at, task_id LIMIT $8

-- name: newest
SELECT task_id, generation, name, queue, worker, error_type, error, failed_at
FROM failure
WHERE {chosen}
ORDER BY failed_at DESC, task_id DESC LIMIT $6

-- name: count
SELECT count(*) FROM failure WHERE {chosen}

-- name: write
INSERT INTO failure (task_id, generation, name, queue, worker, error_type, error, failed_at, lettered)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::int::boolean)
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, name = excluded.name, queue = excluded.queue,
    worker = excluded.worker, error_type = excluded.error_type, error = excluded.error, failed_at = excluded.failed_at,
    lettered = excluded.lettered

-- name: rejected
WITH held AS MATERIALIZED (
    SELECT * FROM message WHERE id = $4 AND deliveries = $5 AND status = 2 AND task_id IS NOT NULL FOR UPDATE)
INSERT INTO failure (task_id, generation, name, queue, error_type, error, failed_at, lettered)
SELECT task_id, generation, name, queue, $1::text, $2::text, $3::float8, true
FROM held
ON CONFLICT (task_id) DO UPDATE SET generation = excluded.generation, name = excluded.name, queue = excluded.queue,
    worker = NULL, error_type = excluded.error_type, error = excluded.error, failed_at = excluded.failed_at,
    lettered = true

-- name: unread
SELECT task_id FROM failure WHERE task_id IN (SELECT jsonb_array_elements_text($1::jsonb))

-- name: read
DELETE FROM failure WHERE task_id = $1

-- name: read_all
DELETE FROM failure WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))

-- name: prune
WITH old AS MATERIALIZED (
    SELECT ctid, failed_at AS at FROM failure
    WHERE failed_at < $1 AND failed_at >= $3 AND NOT lettered
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY failed_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM failure WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- What has a dead letter goes with it, and at the latest when all letters of its age have gone.
-- name: prune_lettered
WITH old AS MATERIALIZED (
    SELECT ctid, failed_at AS at FROM failure
    WHERE failed_at < $1 AND failed_at >= $3 AND lettered
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY failed_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM failure WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
