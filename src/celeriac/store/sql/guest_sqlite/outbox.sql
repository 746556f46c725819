-- name: exists
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'celeriac_outbox'

-- name: write
INSERT INTO celeriac_outbox (destination, queue, task_id, name, message) VALUES (?, ?, ?, ?, ?)

-- name: announce
SELECT 1

-- name: work
SELECT EXISTS (SELECT 1 FROM celeriac_outbox WHERE destination IN (?1, ?2))

-- One relay at a time, so that the order holds; who comes second finds nothing.
-- name: take
UPDATE celeriac_outbox SET taken_until = (julianday('now') - 2440587.5) * 86400.0 + ?2, error = NULL
WHERE id IN (
    SELECT id FROM celeriac_outbox
    WHERE destination IN (?1, ?4) AND coalesce(taken_until, 0) <= (julianday('now') - 2440587.5) * 86400.0
      AND NOT EXISTS (SELECT 1 FROM celeriac_outbox AS taken WHERE taken.destination IN (?1, ?4) AND taken.error IS NULL
                      AND taken.taken_until > (julianday('now') - 2440587.5) * 86400.0)
    ORDER BY id LIMIT ?3)
RETURNING id, message, (julianday('now') - 2440587.5) * 86400.0 - written_at

-- name: sent
DELETE FROM celeriac_outbox WHERE id = ?

-- name: put_back
UPDATE celeriac_outbox SET taken_until = NULL WHERE id = ?

-- name: refused
UPDATE celeriac_outbox SET error = ?, taken_until = (julianday('now') - 2440587.5) * 86400.0 + ? WHERE id = ?

-- name: status
SELECT destination, queue, count(*), count(error), (julianday('now') - 2440587.5) * 86400.0 - min(written_at), max(error)
FROM celeriac_outbox GROUP BY destination, queue ORDER BY destination, queue
