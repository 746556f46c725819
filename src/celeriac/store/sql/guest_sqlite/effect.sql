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
