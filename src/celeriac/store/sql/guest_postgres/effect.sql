-- name: exists
SELECT to_regclass('celeriac_effect') IS NOT NULL

-- Whoever comes second waits here until the first has committed, or not.
-- name: claim
INSERT INTO celeriac_effect (scope, step) VALUES ($1, $2) ON CONFLICT (scope, step) DO NOTHING

-- name: value
SELECT value FROM celeriac_effect WHERE scope = $1 AND step = $2

-- name: save
UPDATE celeriac_effect SET value = $1 WHERE scope = $2 AND step = $3

-- name: prune
DELETE FROM celeriac_effect WHERE (scope, step) IN (
    SELECT scope, step FROM celeriac_effect WHERE made_at < extract(epoch FROM clock_timestamp()) - $1 LIMIT $2)

-- name: undo
DELETE FROM celeriac_effect WHERE scope = $1 AND step = $2

-- A cursor, moved by who has read it or has moved it before; whoever comes second waits here until the first has committed.
-- name: move
INSERT INTO celeriac_effect (scope, step, value) VALUES ($1, $2, $3)
ON CONFLICT (scope, step) DO UPDATE SET value = excluded.value, made_at = extract(epoch FROM clock_timestamp())
WHERE celeriac_effect.value = $4 OR substr(celeriac_effect.value, 1, length($5)) = $5
