-- name: keep
INSERT INTO chain (id, format, kept_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING

-- name: keep_steps
INSERT INTO chain_step (chain_id, position, step)
SELECT ?1, key, value FROM json_each(?2) WHERE true
ON CONFLICT (chain_id, position) DO NOTHING

-- name: hold
INSERT INTO chain_holder (chain_id, holder, at) VALUES (?1, ?2, ?3)
ON CONFLICT (chain_id, holder) DO UPDATE SET at = excluded.at

-- name: step
SELECT format, step FROM chain JOIN chain_step ON chain_id = id WHERE id = ?1 AND position = ?2

-- name: rest
SELECT format, step FROM chain JOIN chain_step ON chain_id = id WHERE id = ?1 AND position <= ?2 ORDER BY position

-- name: needed_by
SELECT id, format, position, step
FROM chain_holder JOIN chain ON chain_id = id JOIN chain_step USING (chain_id)
WHERE holder = ?1 ORDER BY id, position

-- name: over
chain.kept_at < ?1 AND NOT EXISTS (
    SELECT 1 FROM chain_holder AS held WHERE held.chain_id = chain.id AND (
        held.at >= ?1
        OR EXISTS (SELECT 1 FROM message WHERE message.task_id = held.holder)
        OR EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.task_id = held.holder)
        OR EXISTS (SELECT 1 FROM chord WHERE chord.group_id = held.holder)))

-- name: prune_steps
-- What is over stays so, whichever of its rows are gone already.
DELETE FROM chain_step WHERE (chain_id, position) IN (
    SELECT chain_id, position FROM chain JOIN chain_step ON chain_id = id WHERE {over} LIMIT ?2)

-- name: prune_holders
DELETE FROM chain_holder WHERE (chain_id, holder) IN (
    SELECT chain_id, holder FROM chain JOIN chain_holder ON chain_id = id
    WHERE {over} AND NOT EXISTS (SELECT 1 FROM chain_step WHERE chain_step.chain_id = chain.id) LIMIT ?2)

-- name: prune
DELETE FROM chain WHERE id IN (
    SELECT id FROM chain WHERE kept_at < ?1
    AND NOT EXISTS (SELECT 1 FROM chain_step WHERE chain_step.chain_id = chain.id)
    AND NOT EXISTS (SELECT 1 FROM chain_holder WHERE chain_holder.chain_id = chain.id) LIMIT ?2)
