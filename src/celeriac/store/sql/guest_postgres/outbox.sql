-- name: exists
SELECT to_regclass('celeriac_outbox') IS NOT NULL

-- name: write
INSERT INTO celeriac_outbox (destination, queue, task_id, name, message) VALUES ($1, $2, $3, $4, $5)

-- name: announce
SELECT pg_notify('celeriac_outbox', '')

-- name: work
SELECT EXISTS (SELECT 1 FROM celeriac_outbox WHERE destination IN ($1, $2))

-- One relay at a time, so that the order holds; who comes second finds nothing.
-- name: take
WITH turn AS MATERIALIZED (
    SELECT 1 WHERE pg_try_advisory_xact_lock(hashtextextended('celeriac outbox ' || $1, 0))),
chosen AS MATERIALIZED (
    SELECT id FROM celeriac_outbox
    WHERE destination IN ($1, $4) AND coalesce(taken_until, 0) <= extract(epoch FROM clock_timestamp())
      AND EXISTS (SELECT 1 FROM turn)
      AND NOT EXISTS (SELECT 1 FROM celeriac_outbox AS taken WHERE taken.destination IN ($1, $4) AND taken.error IS NULL
                      AND taken.taken_until > extract(epoch FROM clock_timestamp()))
    ORDER BY id LIMIT $3)
UPDATE celeriac_outbox AS outbox SET taken_until = extract(epoch FROM clock_timestamp()) + $2, error = NULL
FROM chosen WHERE outbox.id = chosen.id
RETURNING outbox.id, outbox.message, extract(epoch FROM clock_timestamp()) - written_at

-- name: sent
DELETE FROM celeriac_outbox WHERE id = $1

-- name: put_back
UPDATE celeriac_outbox SET taken_until = NULL WHERE id = $1

-- name: refused
UPDATE celeriac_outbox SET error = $1, taken_until = extract(epoch FROM clock_timestamp()) + $2 WHERE id = $3

-- name: status
SELECT destination, queue, count(*), count(error), extract(epoch FROM clock_timestamp()) - min(written_at), max(error)
FROM celeriac_outbox GROUP BY destination, queue ORDER BY destination, queue
