-- name: page
-- needs: base
-- Of each what filters look at, and no more.
local after, most, found = take(), take_number(), {}
for number, id in ipairs(call('ZRANGEBYSCORE', base .. 'letters', '(' .. after, '+inf', 'LIMIT', 0, most)) do
    local f = call('HMGET', base .. 'l:' .. id, 'name', 'queue', 'error_type', 'error', 'failed')
    found[number] = { id, unpack(f) }
end
return found

-- name: before
-- needs: base
local before, most, found = take(), take_number(), {}
for number, id in ipairs(call('ZREVRANGEBYSCORE', base .. 'letters', '(' .. before, '-inf', 'LIMIT', 0, most)) do
    local f = call('HMGET', base .. 'l:' .. id, 'name', 'queue', 'error_type', 'error', 'failed')
    found[number] = { id, unpack(f) }
end
return found

-- name: read
-- needs: base
local found = {}
for _ = 1, take_number() do
    local id = take()
    local f = call('HMGET', base .. 'l:' .. id, 'task', 'generation', 'name', 'queue', 'reason', 'error_type', 'error',
        'traceback', 'worker', 'failed', 'envelope', 'body', 'priority')
    if f[1] then
        local attempts = call('LRANGE', base .. 'a:' .. f[1], 0, -1)
        for number, raw in ipairs(attempts) do attempts[number] = cmsgpack.unpack(raw) end
        found[#found + 1] = { id, f, attempts }
    end
end
return found

-- name: redrive
-- needs: sending history
local number, task, generation, now = take(), take(), take_number(), clock()
local m = take_message()
if call('EXISTS', base .. 'l:' .. number) == 0 then return 'gone' end
if m.key ~= '' then
    local k = holder(m.key, now)
    if k and (k.done == 1 or k.task ~= task) then return { 'held', k.task } end
    if k and k.digest ~= m.digest then return { 'conflict', 1, k.task } end
end
if call('HEXISTS', base .. 'live', task) == 1 then return 'live' end
delete_letter(number)
m.awaited, m.generation = true, string.format('%d', math.max(generation + 1, next_generation(task)))
send(m, now)
say('commits')
return 'sent'

-- name: purge
-- needs: history
local dropped = 0
for _ = 1, take_number() do dropped = dropped + delete_letter(take()) end
return dropped
