-- name: keep
INSERT INTO chain (id, format, kept_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING

-- name: keep_steps
INSERT INTO chain_step (chain_id, position, step)
SELECT $1, place - 1, 't'::bytea || convert_to(step, 'UTF8')
FROM json_array_elements_text($2::json) WITH ORDINALITY AS steps (step, place)
ON CONFLICT (chain_id, position) DO NOTHING

-- name: hold
INSERT INTO chain_holder (chain_id, holder, at) VALUES ($1, $2, $3)
ON CONFLICT (chain_id, holder) DO UPDATE SET at = excluded.at

-- name: step
SELECT format, step FROM chain JOIN chain_step ON chain_id = id WHERE id = $1 AND position = $2

-- name: rest
SELECT format, step FROM chain JOIN chain_step ON chain_id = id WHERE id = $1 AND position <= $2 ORDER BY position

-- name: needed_by
SELECT id, format, position, step
FROM chain_holder JOIN chain ON chain_id = id JOIN chain_step USING (chain_id)
WHERE holder = $1 ORDER BY id, position

-- name: over
NOT EXISTS (
    SELECT 1 FROM chain_holder AS held WHERE held.chain_id = old.id AND (
        held.at >= $1
        OR EXISTS (SELECT 1 FROM message WHERE message.task_id = held.holder)
        OR EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = held.holder)
        OR EXISTS (SELECT 1 FROM chord WHERE chord.group_id = held.holder)))

-- name: prune_steps
-- As in ledger.sql: a slice, the oldest first, and where the next one goes on.
WITH old AS MATERIALIZED (
    SELECT chain_step.ctid, id, kept_at AS at FROM chain JOIN chain_step ON chain_id = id
    WHERE kept_at < $1 AND kept_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
    ORDER BY kept_at LIMIT $2),
over AS MATERIALIZED (SELECT id FROM (SELECT DISTINCT id FROM old) AS old WHERE {over}),
gone AS (
    DELETE FROM chain_step WHERE ctid = ANY (ARRAY(SELECT ctid FROM old WHERE id IN (SELECT id FROM over))) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune_holders
WITH old AS MATERIALIZED (
    SELECT chain_holder.ctid, id, kept_at AS at FROM chain JOIN chain_holder ON chain_id = id
    WHERE kept_at < $1 AND kept_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
          AND NOT EXISTS (SELECT 1 FROM chain_step WHERE chain_step.chain_id = chain.id)
    ORDER BY kept_at LIMIT $2),
over AS MATERIALIZED (SELECT id FROM (SELECT DISTINCT id FROM old) AS old WHERE {over}),
gone AS (
    DELETE FROM chain_holder WHERE ctid = ANY (ARRAY(SELECT ctid FROM old WHERE id IN (SELECT id FROM over))) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old

-- name: prune
WITH old AS MATERIALIZED (
    SELECT ctid, kept_at AS at FROM chain
    WHERE kept_at < $1 AND kept_at >= $3
          AND (SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema(), 11)))
          AND NOT EXISTS (SELECT 1 FROM chain_step WHERE chain_step.chain_id = chain.id)
          AND NOT EXISTS (SELECT 1 FROM chain_holder WHERE chain_holder.chain_id = chain.id)
    ORDER BY kept_at LIMIT $2 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM chain WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT (SELECT count(*) FROM gone), count(*), max(at) FROM old
