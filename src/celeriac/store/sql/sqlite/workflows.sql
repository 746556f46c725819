-- A publish that is repeated records nothing anew.
-- name: record
INSERT INTO workflow (id, name, shape, on_failure, parent, sent_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (id) DO NOTHING

-- name: read
SELECT id, name, shape, on_failure, parent, sent_at, cancelled_at, cancelled_by, state, outcome, kept_at
FROM workflow WHERE id = ?1

-- name: newest
SELECT id, name, shape, on_failure, parent, sent_at, cancelled_at, cancelled_by, state, outcome, kept_at
FROM workflow WHERE (?1 IS NULL OR (sent_at, id) < (?1, ?2)) ORDER BY sent_at DESC, id DESC LIMIT ?3

-- Those of which more is to be known, the one first that nobody has looked at for longest.
-- name: unfinished
SELECT id, name, shape, on_failure, parent, sent_at, cancelled_at, cancelled_by, state, outcome, kept_at
FROM workflow WHERE state IN ('running', 'blocked') ORDER BY coalesce(looked_at, 0), sent_at LIMIT ?1

-- name: message_of
SELECT envelope FROM message WHERE task_id = ?1

-- The ids of nodes stand in the shape between quotes.
-- name: find
SELECT id FROM workflow WHERE instr(shape, ?1) > 0 ORDER BY sent_at DESC LIMIT 1

-- name: cancel
UPDATE workflow SET cancelled_at = ?2, cancelled_by = ?3 WHERE id = ?1 AND cancelled_at IS NULL

-- name: cancelled
SELECT id FROM workflow WHERE cancelled_at >= ?1

-- name: note
UPDATE workflow SET state = ?2, outcome = ?3,
       noted_at = CASE WHEN state = ?2 AND state <> 'running' THEN coalesce(noted_at, ?4) ELSE ?4 END,
       looked_at = ?4
WHERE id = ?1

-- One that was noted as lost goes on: what is to come of it was somewhere else.
-- name: kept
UPDATE workflow SET kept_at = ?2, state = CASE WHEN state = 'lost' THEN 'running' ELSE state END
WHERE id IN (SELECT value FROM json_each(?1))

-- Groups that no body waits for were counted alone; as chords that are over they go when they are old.
-- name: close_groups
UPDATE chord SET state = 'sent', updated_at = ?2
WHERE group_id IN (SELECT value FROM json_each(?1)) AND size IS NULL AND state = 'open'

-- A member that was redriven is noted as failed until it ends again: of a chain the redriven step runs, or its last one.
-- name: counted
SELECT group_id, count(*) FILTER (WHERE succeeded = 1), count(*) FILTER (WHERE succeeded = 0),
       count(*) FILTER (WHERE succeeded = -1),
       CASE WHEN min(succeeded) = 1 THEN 0 ELSE (
           SELECT count(*) FROM letter_chord JOIN dead_letter USING (task_id)
           WHERE letter_chord.group_id = chord_part.group_id) END,
       CASE WHEN min(succeeded) = 1 THEN 0 ELSE (
           SELECT count(*) FROM message WHERE task_id IN (
               SELECT task_id FROM letter_chord WHERE letter_chord.group_id = chord_part.group_id
               UNION
               SELECT own.task_id FROM chord_part AS own
               WHERE own.group_id = chord_part.group_id AND own.succeeded = 0)) END
FROM chord_part WHERE group_id IN (SELECT value FROM json_each(?1)) GROUP BY group_id

-- By the index of each task: a group may be as long as it likes.
-- name: times
SELECT group_id, min((SELECT started_at FROM task WHERE task.task_id = chord_part.task_id)),
       max((SELECT finished_at FROM task WHERE task.task_id = chord_part.task_id))
FROM chord_part WHERE group_id IN (SELECT value FROM json_each(?1)) GROUP BY group_id

-- name: claimed
SELECT task_id, started_at IS NOT NULL, envelope FROM message
WHERE status = 2 AND task_id IS NOT NULL AND instr(envelope, ?1) > 0

-- By pages, so that no reader holds a snapshot for long: where to go on, and the workflows of one.
-- name: under_way
SELECT max(id), json_group_array(DISTINCT workflow) FROM (
    SELECT id, CASE WHEN instr(envelope, '"celeriac_workflow"') > 0 AND json_valid(envelope)
                    THEN json_extract(envelope, '$[0].celeriac_workflow[0]') END AS workflow
    FROM message WHERE id > ?1 ORDER BY id LIMIT ?2)

-- name: letters
SELECT id, envelope FROM dead_letter WHERE failed_at >= ?2 AND instr(envelope, ?1) > 0 ORDER BY id

-- name: prune
DELETE FROM workflow WHERE id IN (SELECT id FROM workflow WHERE state <> 'running' AND noted_at < ?1 LIMIT ?2)
