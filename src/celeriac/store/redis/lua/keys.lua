-- name: take
-- needs: keys
local key, task, digest, ttl = take(), take(), take(), take()
local k = holder(key, clock())
if k then return { k.task, k.digest, k.done } end
-- Only a task that is still to settle will let it go again.
if call('HEXISTS', base .. 'live', task) == 1 then
    go_on()
    take_key(key, task, digest, ttl)
end
return { task, digest, 0 }
