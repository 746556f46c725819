-- name: pause
INSERT INTO pause (kind, name, at, who, note) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- name: resume
DELETE FROM pause WHERE kind = ? AND name = ?

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
SET status = 8, deliveries = deliveries - ?1, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id IN (SELECT value FROM json_each(?2)) AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)
RETURNING id

-- The claim found some, so there will be more.
-- name: sweep_ready
UPDATE message SET status = 8
WHERE id IN (SELECT id FROM message WHERE status = 0 AND queue = ? ORDER BY priority DESC, id LIMIT 2000)
  AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)

-- name: sweep_suspects
UPDATE message SET status = 8
WHERE id IN (SELECT id FROM message WHERE status = 4 AND queue = ? ORDER BY id LIMIT 2000)
  AND name IN (SELECT name FROM pause WHERE kind = 'task')
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)

-- name: sweep_lanes
UPDATE message SET status = 8
WHERE id IN (SELECT id FROM message WHERE status = 7 AND name IN (SELECT name FROM pause WHERE kind = 'task')
             AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id) LIMIT 2000)

-- name: hold
UPDATE message
SET status = 8, lease_until = NULL, started_at = NULL, owner = NULL
WHERE id = ? AND deliveries = ? AND status = 2

-- Names of which messages are set aside, one look-up each.
-- name: held_names
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM message WHERE status = 8
    UNION ALL SELECT (SELECT min(name) FROM message WHERE status = 8 AND message.name > found.name)
              FROM found WHERE found.name IS NOT NULL)
SELECT name FROM found WHERE name IS NOT NULL AND name NOT IN (SELECT pause.name FROM pause WHERE kind = 'task')

-- name: let_go
UPDATE message SET status = iif(crashes > 0, 4, iif(limits IS NULL, 0, 7))
WHERE id IN (SELECT id FROM message WHERE status = 8 AND name = ?1
             AND NOT EXISTS (SELECT 1 FROM pause WHERE kind = 'task' AND pause.name = ?1) ORDER BY id LIMIT 1000)

-- name: waiting
SELECT id, task_id, name, queue, sent_at, envelope, iif(?5, body, NULL)
FROM message
WHERE id > ?1 AND status <> 2 AND task_id IS NOT NULL
  AND (?2 IS NULL OR name GLOB ?2) AND (?3 IS NULL OR queue GLOB ?3) AND (?4 IS NULL OR sent_at <= ?4)
  AND NOT EXISTS (SELECT 1 FROM revoked WHERE revoked.task_id = message.task_id)
ORDER BY id LIMIT ?6
