-- name: page
-- needs: base
-- In the order in which they failed, from that moment on.
local from, most, found = take(), take_number(), {}
for number, task in ipairs(call('ZRANGEBYSCORE', base .. 'failures', from, '+inf', 'LIMIT', 0, most)) do
    found[number] = { task, unpack(cmsgpack.unpack(call('GET', base .. 'f:' .. task))) }
end
return found

-- name: read
-- needs: failures
for _ = 1, take_number() do read_failure(take()) end
return 1

-- name: acknowledge
-- needs: failures acts
local by, done = take_by(), 0
for _ = 1, take_number() do
    local task = take()
    if read_failure(task) == 1 then
        act(by, 'read', '', task)
        done = done + 1
    end
end
return done
