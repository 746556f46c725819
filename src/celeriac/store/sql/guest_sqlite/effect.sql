-- name: exists
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'celeriac_effect'

-- Whoever comes second waits here until the first has committed, or not.
-- name: claim
INSERT INTO celeriac_effect (scope, step) VALUES (?, ?) ON CONFLICT (scope, step) DO NOTHING

-- name: value
SELECT value FROM celeriac_effect WHERE scope = ? AND step = ?

-- name: save
UPDATE celeriac_effect SET value = ? WHERE scope = ? AND step = ?

-- name: prune
DELETE FROM celeriac_effect WHERE (scope, step) IN (
    SELECT scope, step FROM celeriac_effect WHERE made_at < (julianday('now') - 2440587.5) * 86400.0 - ? LIMIT ?)

-- name: undo
DELETE FROM celeriac_effect WHERE scope = ? AND step = ?

-- A cursor, moved by who has read it or has moved it before; whoever comes second waits here until the first has committed.
-- name: move
INSERT INTO celeriac_effect (scope, step, value) VALUES (?1, ?2, ?3)
ON CONFLICT (scope, step) DO UPDATE SET value = excluded.value, made_at = (julianday('now') - 2440587.5) * 86400.0
WHERE celeriac_effect.value = ?4 OR substr(celeriac_effect.value, 1, length(?5)) = ?5
