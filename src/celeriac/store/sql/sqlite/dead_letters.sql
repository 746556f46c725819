-- name: chosen
(?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))
  AND (?2 IS NULL OR name GLOB ?2)
  AND (?3 IS NULL OR queue GLOB ?3)
  AND (?4 IS NULL OR instr(lower(error_type || ': ' || error), lower(?4)) > 0)
  AND (?5 IS NULL OR failed_at <= ?5)
  AND (?6 IS NULL OR failed_at >= ?6)
  AND (?7 IS NULL OR fingerprint = ?7)
  AND (?8 IS NULL OR (acked_at IS NOT NULL) = ?8)

-- name: select
SELECT id, task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope, body,
       priority, fingerprint, acked_at, acked_by, note, snoozes
FROM dead_letter
WHERE {chosen} AND id > ?9
ORDER BY id LIMIT ?10

-- name: newest
SELECT min(id) FROM (SELECT id FROM dead_letter WHERE {chosen} ORDER BY id DESC LIMIT ?9)

-- name: count
SELECT count(*) FROM dead_letter WHERE {chosen}

-- Beside max(), SQLite takes the other columns from the same row.
-- name: groups
SELECT fingerprint, count(*), count(DISTINCT name), min(name), min(failed_at), max(failed_at), max(id), error_type, error
FROM dead_letter
WHERE {chosen}
GROUP BY fingerprint ORDER BY count(*) DESC, max(id) DESC

-- name: unprinted
SELECT id, error_type, error FROM dead_letter WHERE fingerprint IS NULL LIMIT ?

-- name: print
UPDATE dead_letter SET fingerprint = ? WHERE id = ?

-- name: of_tasks
SELECT task_id, id FROM dead_letter WHERE task_id IN (SELECT value FROM json_each(?))

-- name: there
SELECT id FROM dead_letter WHERE id IN (SELECT value FROM json_each(?))

-- name: delete
DELETE FROM dead_letter WHERE id IN (SELECT value FROM json_each(?)) RETURNING id, task_id

-- What was said before stays, unless there is something else to say.
-- name: acknowledge
UPDATE dead_letter
SET acked_at = iif(acked_at IS NULL OR ?3 IS NOT NULL, ?1, acked_at),
    acked_by = iif(acked_at IS NULL OR ?3 IS NOT NULL, ?2, acked_by), note = coalesce(?3, note)
WHERE id IN (SELECT value FROM json_each(?4)) RETURNING id, task_id

-- name: reopen
UPDATE dead_letter SET acked_at = NULL, acked_by = NULL, note = NULL
WHERE id IN (SELECT value FROM json_each(?)) AND acked_at IS NOT NULL
RETURNING id, task_id

-- name: import
INSERT INTO dead_letter (task_id, generation, name, queue, reason, error_type, error, traceback, worker, failed_at, envelope,
                         body, priority, fingerprint, acked_at, acked_by, note, snoozes)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE task_id = ?1 AND generation >= ?2)
  AND NOT EXISTS (SELECT 1 FROM task WHERE task_id = ?1 AND generation > ?2)
  AND NOT EXISTS (SELECT 1 FROM message WHERE task_id = ?1)
RETURNING id

-- name: import_attempt
INSERT INTO attempt (task_id, generation, started_at, finished_at, worker, outcome, error_type, error, traceback)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE task_id = ?1 AND generation = ?2 AND finished_at = ?4)

-- name: hold_chord
INSERT INTO letter_chord (task_id, group_id, held_at) VALUES (?, ?, ?)
ON CONFLICT (task_id, group_id) DO UPDATE SET held_at = excluded.held_at

-- name: hold_chord_with
INSERT INTO letter_chord (task_id, group_id, held_at)
SELECT task_id, ?2, ?3 FROM letter_chord WHERE group_id = ?1
ON CONFLICT (task_id, group_id) DO UPDATE SET held_at = excluded.held_at

-- name: keep_snoozes
UPDATE message SET snoozes = ? WHERE task_id IN (SELECT value FROM json_each(?))

-- name: keep_chords
UPDATE chord SET updated_at = ?1
WHERE group_id IN (SELECT group_id FROM letter_chord WHERE task_id IN (SELECT value FROM json_each(?2)))

-- name: act
INSERT INTO action (at, who, verb, letter_id, task_id, note) VALUES (?, ?, ?, ?, ?, ?)

-- name: act_on
INSERT INTO action (at, who, verb, letter_id, task_id, note)
SELECT ?1, ?2, ?3, json_extract(value, '$[0]'), json_extract(value, '$[1]'), ?4 FROM json_each(?5) ORDER BY key

-- name: actions
SELECT at, who, verb, letter_id, task_id, note FROM action
ORDER BY id DESC LIMIT ?

-- name: actions_of
SELECT at, who, verb, letter_id, task_id, note FROM action
WHERE task_id = ?
ORDER BY id DESC LIMIT ?

-- name: prune
DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE failed_at < ? LIMIT ?)

-- name: prune_actions
-- They are in the order of time, so only the oldest are looked at.
DELETE FROM action WHERE id IN (SELECT id FROM (SELECT id, at FROM action ORDER BY id LIMIT ?2) WHERE at < ?1)

-- name: prune_letter_chords
DELETE FROM letter_chord WHERE (task_id, group_id) IN (
    SELECT task_id, group_id FROM letter_chord
    WHERE held_at < ? AND task_id NOT IN (SELECT task_id FROM dead_letter) LIMIT ?)
