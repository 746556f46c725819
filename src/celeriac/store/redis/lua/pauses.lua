-- name: pause
-- needs: base clock
local field, who, note = take(), take(), take()
local new = call('HSETNX', base .. 'pauses', field, cmsgpack.pack({ text(clock()), who, note }))
if new == 1 then say('commits') end
return new

-- name: resume
-- needs: base
go_on()
local found = call('HDEL', base .. 'pauses', take())
if found == 1 then
    say('work')
    say('commits')
end
return found

-- name: paused
-- needs: base
return call('HKEYS', base .. 'pauses')

-- name: list
-- needs: base
local function waiting_in(queue)
    return call('ZCARD', base .. 'ready:' .. queue) + call('ZCARD', base .. 'suspect:' .. queue)
        + call('ZCARD', base .. 'delayed:' .. queue) + call('SCARD', base .. 'parked:' .. queue)
        + call('SCARD', base .. 'heldin:' .. queue) + tonumber(call('HGET', base .. 'limited', queue) or 0)
end

local found, flat = {}, call('HGETALL', base .. 'pauses')
for at = 1, #flat, 2 do
    local kind, name = flat[at]:match('^(%l+)\n(.*)$')
    local facts = cmsgpack.unpack(flat[at + 1])
    local waiting = kind == 'queue' and waiting_in(name) or call('ZCARD', base .. 'held:t' .. name)
    found[#found + 1] = { kind, name, facts[1], facts[2], facts[3], waiting }
end
return found

-- name: hold
-- needs: pauses
local id = take()
local s = held(id, take_number())
if not s then return 0 end
call('ZREM', base .. 'leases', id)
let_go(s)
hold_aside(id, row_of(id), s)
say('commits')
return 1

-- What no pause holds waits again, at most so many.
-- name: let_go
-- needs: pauses
local most, gone = take_number(), 0
if call('EXISTS', base .. 'heldnames') == 1 then go_on() end
for _, name in ipairs(call('SMEMBERS', base .. 'heldnames')) do
    if gone < most and not is_paused('task', name:sub(2)) then
        for _, id in ipairs(call('ZRANGE', base .. 'held:' .. name, 0, most - gone - 1)) do
            local s = state_of(id)
            take_out(id, row_of(id), s)
            make_waiting(id, s)
            gone = gone + 1
        end
    end
end
if gone > 0 then
    say('work')
    say('commits')
end
return gone

-- name: waiting
-- needs: rows
local cursor, before, bodies = take(), take(), take() == '1'
local scanned = call('HSCAN', base .. 'live', cursor, 'COUNT', 500)
local found = {}
for at = 1, #scanned[2], 2 do
    local task, id = scanned[2][at], scanned[2][at + 1]
    local row, s = row_of(id), state_of(id)
    local over = (s and s.status == CLAIMED) or call('ZSCORE', base .. 'revoked', task)
    if row and not over and (before == '' or tonumber(row.sent) <= tonumber(before)) then
        found[#found + 1] = { task, row.name, row.queue, row.sent, row.envelope, bodies and row.body or '' }
    end
end
return { scanned[1], found }
