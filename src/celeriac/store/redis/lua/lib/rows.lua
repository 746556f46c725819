-- needs: base clock lanes
-- A message is a packed list under m:<id>, as it was sent. What has come of it is a packed list in the hash `state`;
-- a message that is ready and was never delivered has none. `live` leads from a task's id to its one message.
-- LANED is ready, in its lane (lanes.lua): one that is limited has a state wherever it is, with its limits.
-- HELD is set aside, because its task is paused (pauses.lua).
-- RELAYED was given to another broker, from where anybody may adopt it; at its time in `relayed` it is to be given again.
local READY, DELAYED, CLAIMED, PARKED, SUSPECT, RELAYED, RELAYED_SUSPECT, LANED, HELD = 0, 1, 2, 3, 4, 5, 6, 7, 8

local function row_of(id)
    local raw = call('GET', base .. 'm:' .. id)
    if not raw then return nil end
    local f = cmsgpack.unpack(raw)
    return {
        queue = f[1], priority = f[2], task = f[3], name = f[4], generation = f[5], run_at = f[6], expires = f[7],
        key = f[8], sent = f[9], envelope = f[10], body = f[11], limits = f[12] or '',
    }
end

local function pack_row(row)
    return cmsgpack.pack({
        row.queue, row.priority, row.task, row.name, row.generation, row.run_at, row.expires, row.key, row.sent,
        row.envelope, row.body, row.limits ~= '' and row.limits or nil,
    })
end

local function put_row(id, row)
    call('SET', base .. 'm:' .. id, pack_row(row))
end

local function unpack_state(raw)
    local f = cmsgpack.unpack(raw)
    return {
        status = f[1], deliveries = f[2], crashes = f[3], started = f[4], owner = f[5], queue = f[6], priority = f[7],
        task = f[8], generation = f[9], limits = f[10] or '', snoozes = f[11] or 0,
    }
end

local function pack_state(s)
    local f = { s.status, s.deliveries, s.crashes, s.started, s.owner, s.queue, s.priority, s.task, s.generation }
    if s.limits ~= '' or s.snoozes > 0 then f[10] = s.limits end
    if s.snoozes > 0 then f[11] = s.snoozes end
    return cmsgpack.pack(f)
end

local function new_state(row, status)
    return {
        status = status, deliveries = 0, crashes = 0, started = '', owner = '', queue = row.queue,
        priority = row.priority, task = row.task, generation = row.generation, limits = row.limits, snoozes = 0,
    }
end

local function state_of(id)
    local raw = call('HGET', base .. 'state', id)
    return raw and unpack_state(raw) or nil
end

local function put_state(id, s)
    call('HSET', base .. 'state', id, pack_state(s))
end

-- Whether a message is still this lease's: who has a stale token finds that it is not.
local function is_held(s, token)
    return s and s.status == CLAIMED and s.deliveries == token
end

local function held(id, token)
    local s = state_of(id)
    return is_held(s, token) and s or nil
end

-- Who waits has found the queue empty: whatever was put into it since began with one that it is told of.
local function tell_of_work(queue)
    if call('EXISTS', base .. 'ready:' .. queue) == 0 then say('work') end
end

local function make_ready(id, queue, priority)
    tell_of_work(queue)
    call('ZADD', base .. 'ready:' .. queue, rank(priority, id), id)
end

local function make_suspect(id, queue)
    call('ZADD', base .. 'suspect:' .. queue, id, id)
    say('work')
end

-- `due` has each queue by its earliest delayed message.
local function look_when_due(queue)
    local first = call('ZRANGE', base .. 'delayed:' .. queue, 0, 0, 'WITHSCORES')
    if first[1] then
        call('ZADD', base .. 'due', first[2], queue)
    else
        call('ZREM', base .. 'due', queue)
    end
end

local function make_delayed(id, queue, run_at)
    call('ZADD', base .. 'delayed:' .. queue, run_at, id)
    local first = call('ZSCORE', base .. 'due', queue)
    if not first or tonumber(run_at) < tonumber(first) then
        call('ZADD', base .. 'due', run_at, queue)
        say('work')
    end
end

local function park_under(id, queue, key)
    call('SADD', base .. 'parked:' .. queue, id)
    call('SADD', base .. 'waiting:' .. key, id)
end

local function count_in(queue, by)
    if call('HINCRBY', base .. 'queues', queue, by) <= 0 then call('HDEL', base .. 'queues', queue) end
end

-- Where a message waits that nothing holds up any more.
local function make_waiting(id, s)
    s.status = s.crashes > 0 and SUSPECT or s.limits ~= '' and LANED or READY
    put_state(id, s)
    if s.status == SUSPECT then
        make_suspect(id, s.queue)
    elseif s.status == LANED then
        enter_lane(id, s.queue, s.priority, s.limits)
    else
        make_ready(id, s.queue, s.priority)
    end
end

-- Nobody holds it any more: what limits it may let others start.
local function let_go(s)
    local held_by_it = s.status == CLAIMED or s.status == RELAYED or s.status == RELAYED_SUSPECT
    if s.limits ~= '' and held_by_it then free_slots(s.limits) end
end

-- Out of its lease, back to where it waits: until `run_at`, where that is given.
local function hand_back(id, s, run_at)
    call('ZREM', base .. 'leases', id)
    let_go(s)
    s.started, s.owner = '', ''
    if not run_at then return make_waiting(id, s) end
    local row = row_of(id)
    row.run_at = run_at
    put_row(id, row)
    s.status, s.snoozes = DELAYED, s.snoozes + 1
    put_state(id, s)
    make_delayed(id, s.queue, run_at)
end

-- Waits from now on behind all that waits, under the number of a message that comes now; only of who holds it.
local function go_behind(id, s)
    local new = string.format('%d', call('INCR', base .. 'ids'))
    call('ZREM', base .. 'leases', id)
    call('HDEL', base .. 'state', id)
    call('RENAME', base .. 'm:' .. id, base .. 'm:' .. new)
    if s.task ~= '' then call('HSET', base .. 'live', s.task, new) end
    return new
end

-- Out of wherever it waits, if it waits there.
local function take_out(id, row, s)
    local status = s and s.status or READY
    if status == READY then
        call('ZREM', base .. 'ready:' .. row.queue, id)
    elseif status == SUSPECT then
        call('ZREM', base .. 'suspect:' .. row.queue, id)
    elseif status == DELAYED then
        call('ZREM', base .. 'delayed:' .. row.queue, id)
        look_when_due(row.queue)
    elseif status == PARKED then
        call('SREM', base .. 'parked:' .. row.queue, id)
        call('SREM', base .. 'waiting:' .. row.key, id)
    elseif status == LANED then
        leave_lane(id, row.queue, s.priority, s.limits)
    elseif status == HELD then
        call('SREM', base .. 'heldin:' .. row.queue, id)
        call('ZREM', base .. 'held:' .. row.name, id)
        if call('EXISTS', base .. 'held:' .. row.name) == 0 then call('SREM', base .. 'heldnames', row.name) end
    elseif status == RELAYED or status == RELAYED_SUSPECT then
        call('ZREM', base .. 'relayed', id)
        call('SREM', base .. 'relayed:' .. row.queue, id)
    end
end

local function delete_message(id, s, queue, task)
    if s then let_go(s) end
    call('ZREM', base .. 'leases', id)
    call('HDEL', base .. 'state', id)
    call('DEL', base .. 'm:' .. id)
    if task ~= '' then call('HDEL', base .. 'live', task) end
    count_in(queue, -1)
end
