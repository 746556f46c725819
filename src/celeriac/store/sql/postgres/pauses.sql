-- name: pause
INSERT INTO pause (kind, name, at, who, note) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, name) DO NOTHING

-- name: resume
DELETE FROM pause WHERE kind = $1 AND name = $2

-- name: paused
SELECT kind, name FROM pause

-- name: list
SELECT kind, name, at, who, note,
       CASE kind WHEN 'queue' THEN (SELECT count(*) FROM message WHERE queue = pause.name AND status NOT IN (2, 5, 6))
                 ELSE (SELECT count(*) FROM message WHERE status = 8 AND message.name = pause.name) END
FROM pause ORDER BY kind, name

-- What a claim has taken of paused tasks; what is revoked runs into its end.
-- name: set_aside
UPDATE message
SET status = 8, deliveries = deliveries - $1, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($2::jsonb) AS value))
  AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)
RETURNING id

-- The claim found some, so there will be more.
-- name: sweep_ready
WITH head AS MATERIALIZED (
    SELECT id FROM message WHERE status = 0 AND queue = $1 ORDER BY priority DESC, id LIMIT 2000 FOR UPDATE SKIP LOCKED)
UPDATE message SET status = 8
WHERE id = ANY (ARRAY(SELECT id FROM head)) AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)

-- name: sweep_suspects
WITH head AS MATERIALIZED (
    SELECT id FROM message WHERE status = 4 AND queue = $1 ORDER BY id + 0 LIMIT 2000 FOR UPDATE SKIP LOCKED)
UPDATE message SET status = 8
WHERE id = ANY (ARRAY(SELECT id FROM head)) AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)

-- name: sweep_lanes
WITH laned AS MATERIALIZED (
    SELECT id FROM message WHERE status = 7 AND name IS NOT NULL AND name IN (SELECT name FROM pause WHERE kind = 'task')
      AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)
    LIMIT 2000 FOR UPDATE SKIP LOCKED)
UPDATE message SET status = 8 WHERE id = ANY (ARRAY(SELECT id FROM laned))

-- name: hold
UPDATE message
SET status = 8, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = $1 AND deliveries = $2 AND status = 2

-- Names of which messages are set aside, one look-up each.
-- name: held_names
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM message WHERE status = 8
    UNION ALL SELECT (SELECT min(name) FROM message WHERE status = 8 AND message.name > found.name)
              FROM found WHERE found.name IS NOT NULL)
SELECT name FROM found WHERE name IS NOT NULL AND name NOT IN (SELECT pause.name FROM pause WHERE kind = 'task')

-- name: let_go
WITH held AS MATERIALIZED (
    SELECT id FROM message WHERE status = 8 AND name = $1
      AND NOT EXISTS (SELECT 1 FROM pause WHERE kind = 'task' AND pause.name = $1)
    ORDER BY id + 0 LIMIT 1000 FOR UPDATE SKIP LOCKED)
UPDATE message SET status = CASE WHEN crashes > 0 THEN 4 WHEN limits IS NULL THEN 0 ELSE 7 END
WHERE id = ANY (ARRAY(SELECT id FROM held))

-- name: waiting
SELECT id, task_id, name, queue, sent_at, envelope, CASE WHEN $5 THEN body END
FROM message
WHERE id > $1 AND status <> 2 AND task_id IS NOT NULL
  AND ($2::text IS NULL OR name ~ $2) AND ($3::text IS NULL OR queue ~ $3) AND ($4::float8 IS NULL OR sent_at <= $4)
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)
ORDER BY id LIMIT $6
