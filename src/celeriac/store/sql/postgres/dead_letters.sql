-- name: select
SELECT id, task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope, body,
       priority
FROM dead_letter
WHERE ($1::jsonb IS NULL OR id IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint))
  AND ($2::text IS NULL OR name ~ $2)
  AND ($3::text IS NULL OR queue ~ $3)
  AND ($4::text IS NULL OR strpos(lower(error_type || ': ' || error), lower($4)) > 0)
  AND ($5::float8 IS NULL OR failed_at <= $5)
  AND ($6::float8 IS NULL OR failed_at >= $6)
  AND id > $7
ORDER BY id LIMIT $8

-- name: newest
SELECT min(id) FROM (
    SELECT id FROM dead_letter
    WHERE ($1::jsonb IS NULL OR id IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint))
      AND ($2::text IS NULL OR name ~ $2)
      AND ($3::text IS NULL OR queue ~ $3)
      AND ($4::text IS NULL OR strpos(lower(error_type || ': ' || error), lower($4)) > 0)
      AND ($5::float8 IS NULL OR failed_at <= $5)
      AND ($6::float8 IS NULL OR failed_at >= $6)
    ORDER BY id DESC LIMIT $7) AS newest

-- name: count
SELECT count(*)
FROM dead_letter
WHERE ($1::jsonb IS NULL OR id IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint))
  AND ($2::text IS NULL OR name ~ $2)
  AND ($3::text IS NULL OR queue ~ $3)
  AND ($4::text IS NULL OR strpos(lower(error_type || ': ' || error), lower($4)) > 0)
  AND ($5::float8 IS NULL OR failed_at <= $5)
  AND ($6::float8 IS NULL OR failed_at >= $6)

-- name: delete
DELETE FROM dead_letter WHERE id = $1

-- name: prune
WITH old AS MATERIALIZED (
    SELECT ctid, failed_at AS at FROM dead_letter
    WHERE failed_at < $1 AND failed_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY failed_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
