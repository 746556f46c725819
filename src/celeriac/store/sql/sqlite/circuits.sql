-- name: read
SELECT version, state FROM circuit WHERE name = ?1

-- name: all
SELECT name, state FROM circuit ORDER BY name

-- What nobody has written has the version 0. The first is a time, so that none comes again after it was forgotten.
-- name: make
INSERT INTO circuit (name, version, state) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING

-- name: write
UPDATE circuit SET state = ?3, version = version + 1 WHERE name = ?1 AND version = ?2

-- name: forget
DELETE FROM circuit WHERE name = ?1
