-- name: chosen
($1::jsonb IS NULL OR id IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint))
  AND ($2::text IS NULL OR name ~ $2)
  AND ($3::text IS NULL OR queue ~ $3)
  AND ($4::text IS NULL OR strpos(lower(error_type || ': ' || error), lower($4)) > 0)
  AND ($5::float8 IS NULL OR failed_at <= $5)
  AND ($6::float8 IS NULL OR failed_at >= $6)
  AND ($7::text IS NULL OR fingerprint = $7)
  AND ($8::int IS NULL OR (acked_at IS NOT NULL)::int = $8)

-- name: select
SELECT id, task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope, body,
       priority, fingerprint, acked_at, acked_by, note, snoozes
FROM dead_letter
WHERE {chosen} AND id > $9
ORDER BY id LIMIT $10

-- name: newest
SELECT min(id) FROM (SELECT id FROM dead_letter WHERE {chosen} ORDER BY id DESC LIMIT $9) AS newest

-- name: count
SELECT count(*) FROM dead_letter WHERE {chosen}

-- name: groups
SELECT fingerprint, count(*), count(DISTINCT name), min(name), min(failed_at), max(failed_at), max(id),
       (array_agg(error_type ORDER BY id DESC))[1], (array_agg(error ORDER BY id DESC))[1]
FROM dead_letter
WHERE {chosen}
GROUP BY fingerprint ORDER BY count(*) DESC, max(id) DESC

-- name: unprinted
SELECT id, error_type, error FROM dead_letter WHERE fingerprint IS NULL LIMIT $1

-- name: print
UPDATE dead_letter SET fingerprint = $1 WHERE id = $2

-- name: of_tasks
SELECT task_id, id FROM dead_letter WHERE task_id IN (SELECT jsonb_array_elements_text($1::jsonb))

-- Locked in one order, so that two who deal with the same wait for each other, and each deals with what is left.
-- name: there
SELECT id FROM dead_letter
WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS value))
ORDER BY id FOR UPDATE

-- name: delete
DELETE FROM dead_letter WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS value))
RETURNING id, task_id

-- name: acknowledge
UPDATE dead_letter
SET acked_at = CASE WHEN acked_at IS NULL OR $3::text IS NOT NULL THEN $1 ELSE acked_at END,
    acked_by = CASE WHEN acked_at IS NULL OR $3::text IS NOT NULL THEN $2 ELSE acked_by END, note = coalesce($3::text, note)
WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($4::jsonb) AS value))
RETURNING id, task_id

-- name: reopen
UPDATE dead_letter SET acked_at = NULL, acked_by = NULL, note = NULL
WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS value)) AND acked_at IS NOT NULL
RETURNING id, task_id

-- name: import
INSERT INTO dead_letter (task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope,
                         body, priority, fingerprint, acked_at, acked_by, note, snoozes)
SELECT $1::text, $2::int, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, $10::float8, $11::text,
       $12::packed, $13::smallint, $14::text, $15::float8, $16::text, $17::text, $18::int
WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE task_id = $1 AND generation >= $2)
  AND NOT EXISTS (SELECT 1 FROM task WHERE task_id = $1 AND generation > $2)
  AND NOT EXISTS (SELECT 1 FROM message WHERE task_id = $1)
RETURNING id

-- name: import_attempt
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback)
SELECT $1::text, $2::int, $3::float8, $4::float8, $5::text, $6::text, $7::text, $8::text, $9::text
WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE task_id = $1 AND generation = $2 AND finished_at = $4)

-- name: hold_chord
INSERT INTO letter_chord (task_id, group_id, held_at) VALUES ($1, $2, $3)
ON CONFLICT (task_id, group_id) DO UPDATE SET held_at = excluded.held_at

-- name: hold_chord_with
INSERT INTO letter_chord (task_id, group_id, held_at)
SELECT task_id, $2::text, $3::float8 FROM letter_chord WHERE group_id = $1
ON CONFLICT (task_id, group_id) DO UPDATE SET held_at = excluded.held_at

-- name: keep_snoozes
UPDATE message SET snoozes = $1 WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))

-- name: keep_chords
WITH held AS MATERIALIZED (
    SELECT group_id FROM chord WHERE group_id = ANY (ARRAY(
        SELECT group_id FROM letter_chord WHERE task_id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))))
    ORDER BY group_id FOR NO KEY UPDATE)
UPDATE chord SET updated_at = $1 WHERE group_id = ANY (ARRAY(SELECT group_id FROM held))

-- name: act
INSERT INTO action (at, who, verb, letter_id, task_id, note) VALUES ($1, $2, $3, $4, $5, $6)

-- name: act_on
INSERT INTO action (at, who, verb, letter_id, task_id, note)
SELECT $1::float8, $2::text, $3::text, (value->>0)::bigint, value->>1, $4::text
FROM jsonb_array_elements($5::jsonb) WITH ORDINALITY AS dealt_with (value, place) ORDER BY place

-- name: actions
SELECT at, who, verb, letter_id, task_id, note FROM action
ORDER BY id DESC LIMIT $1

-- name: actions_of
SELECT at, who, verb, letter_id, task_id, note FROM action
WHERE task_id = $1
ORDER BY id DESC LIMIT $2

-- name: prune
WITH old AS MATERIALIZED (
    SELECT ctid, failed_at AS at FROM dead_letter
    WHERE failed_at < $1 AND failed_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY failed_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_actions
WITH old AS MATERIALIZED (
    SELECT ctid, at FROM action
    WHERE at < $1 AND at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM action WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_letter_chords
WITH old AS MATERIALIZED (
    SELECT ctid, task_id, held_at AS at FROM letter_chord
    WHERE held_at < $1 AND held_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY held_at LIMIT $2),
gone AS (
    DELETE FROM letter_chord WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM old WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = old.task_id)))
    RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
