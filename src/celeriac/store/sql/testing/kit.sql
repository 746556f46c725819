-- name: queues
SELECT DISTINCT queue FROM message WHERE task_id IS NOT NULL ORDER BY queue

-- name: due_after
SELECT min(run_at) FROM message WHERE status = 1 AND run_at > ?

-- name: free_after
SELECT min(free_at) FROM rate WHERE free_at > ?

-- name: published
SELECT task_id, name, queue, priority, generation, run_at, expires_at, sent_at, envelope, body
FROM kit_published ORDER BY id

-- name: waiting
SELECT name, task_id, queue, status, run_at FROM message WHERE task_id IS NOT NULL ORDER BY id LIMIT ?
