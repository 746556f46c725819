-- name: extend
-- needs: rows
local lease_until, lost = clock() + take_number(), {}
go_on()
for _ = 1, take_number() do
    local id, token = take(), take_number()
    if held(id, token) then
        call('ZADD', base .. 'leases', lease_until, id)
    else
        lost[#lost + 1] = id
        lost[#lost + 1] = token
    end
end
return lost

-- name: start
-- needs: rows
local id = take()
local s = held(id, take_number())
if not s then return 0 end
go_on()
s.started = text(clock())
put_state(id, s)
say('commits')
return 1

-- name: release
-- needs: history
local now, crashed, error = clock(), take() == '1', take()
local released = {}
go_on()
for _ = 1, take_number() do
    local id, token = take(), take_number()
    local s = held(id, token)
    if s then
        if crashed then
            note_crash(s, error, now)
            s.crashes = s.crashes + 1
        end
        hand_back(id, s)
        released[#released + 1] = id
        released[#released + 1] = token
        say('commits')
    end
end
return released

-- name: hand_back
-- needs: rows
local kept = {}
for _ = 1, take_number() do
    local id, token = take(), take_number()
    local s = held(id, token)
    if s and s.started == '' then
        hand_back(id, s)
        say('commits')
    elseif s then
        kept[#kept + 1] = id
        kept[#kept + 1] = token
    end
end
return kept

-- What came without limits, and should have some, is sent to its lane by who was given it.
-- name: hold
-- needs: rows
local limits, id = take(), take()
local s = held(id, take_number())
if not s then return 0 end
local row = row_of(id)
call('ZREM', base .. 'leases', id)
let_go(s)
row.limits, s.limits, s.started, s.owner = limits, limits, '', ''
put_row(id, row)
make_waiting(id, s)
say('commits')
return 1

-- name: park
-- needs: keys
local id, token = take(), take_number()
local s = held(id, token)
if not s then return 0 end
local key = row_of(id).key
local k = key ~= '' and key_row(key)
if not k or k.task == s.task or k.done ~= 0 then return 0 end
call('ZREM', base .. 'leases', id)
let_go(s)
s.status, s.started, s.owner = PARKED, '', ''
put_state(id, s)
park_under(id, s.queue, key)
say('commits')
return 1

-- name: ack
-- needs: keys
local now = clock()
for _ = 1, take_number() do
    local id, token = take(), take_number()
    local s = held(id, token)
    if s then
        delete_message(id, s, s.queue, s.task)
        if s.task ~= '' then free_keys(s.task, now) end
        say('commits')
    end
end
return 1

-- name: reject
-- needs: history records
local id, token, expires = take(), take_number(), take_number()
local why = { reason = take(), error_type = take(), error = take(), print = take(), traceback = '', worker = '' }
local s, now = held(id, token), clock()
if not s then return 0 end
go_on()
local row = row_of(id)
bury(id, why, now)
if s.task ~= '' then write_end(row, 'FAILURE', 'rejected', now, now + expires, why) end
delete_message(id, s, s.queue, s.task)
if s.task ~= '' then free_keys(s.task, now) end
say('commits')
return 1

-- name: reclaim
-- needs: history
local now, most = clock(), take_number()
local ids = call('ZRANGEBYSCORE', base .. 'leases', '-inf', now, 'LIMIT', 0, most)
local found = {}
if #ids > 0 then go_on() end
for number, id in ipairs(ids) do
    local s, row = state_of(id), row_of(id)
    found[number] = { s.task, row and row.name or '', s.started ~= '' and 1 or 0 }
    -- Only a task that was marked as started can have done it.
    if s.started ~= '' then
        note_crash(s, 'tits worker vanished while it ran', now)
        s.crashes = s.crashes + 1
    end
    call('ZREM', base .. 'leases', id)
    let_go(s)
    s.status, s.started, s.owner = SUSPECT, '', ''
    put_state(id, s)
    make_suspect(id, s.queue)
    say('commits')
end
return found
