-- name: publish
-- needs: sending
local now = clock()
local messages = take_messages()
local number, holder_id = in_conflict(messages, now)
if number then return { 'conflict', number, holder_id } end
local answers = send_all(messages, now)
if #messages > 0 then say('commits') end
return answers

-- name: claim
-- needs: records due pauses
local now = clock()

local function first_suspect(queue, below)
    local from = 0
    while true do
        local ids = call('ZRANGE', base .. 'suspect:' .. queue, from, from + 99)
        for _, id in ipairs(ids) do
            local s = state_of(id)
            if set_aside(id) then
                from = from - 1
            elseif s.crashes < below and (s.limits == '' or not first_full(s.limits, now)) then
                if s.limits ~= '' then take_slots(s.limits, now) end
                return id
            end
        end
        if #ids < 100 then return nil end
        from = from + 100
    end
end

local until_, owner, limit, below, first = take_number(), take(), take_number(), take_number(), take() == '1'
local queues = {}
for _ = 1, take_number() do
    local queue = take()
    if not is_paused('queue', queue) then queues[#queues + 1] = queue end
end
local declared = take()
if declared ~= '' then rules = cjson.decode(declared) end
local lease_until = now + until_

local function deliver(ids, suspect)
    local names, places, leases, states, found = {}, {}, {}, {}, {}
    for number, id in ipairs(ids) do
        names[number] = base .. 'm:' .. id
        leases[2 * number - 1], leases[2 * number] = lease_until, id
    end
    call('ZADD', base .. 'leases', unpack(leases))
    local rows, known = call('MGET', unpack(names)), call('HMGET', base .. 'state', unpack(ids))
    local any_revoked = call('EXISTS', base .. 'revoked') == 1
    for number, raw in ipairs(rows) do
        local f = cmsgpack.unpack(raw)
        local task, generation = f[3], f[5]
        local deliveries, crashes, limits, snoozes = 0, 0
        if known[number] then
            local s = unpack_state(known[number])
            deliveries, crashes, limits = s.deliveries, s.crashes, s.limits ~= '' and s.limits or nil
            snoozes = s.snoozes > 0 and s.snoozes or nil
        end
        local kept = limits
        if limits and is_over(f[7], now) then
            give_back(limits)
            kept = nil
        end
        states[2 * number - 1] = ids[number]
        states[2 * number] = cmsgpack.pack({
            CLAIMED, deliveries + 1, crashes, '', owner, f[1], f[2], task, generation,
            kept or snoozes and '' or nil, snoozes,
        })
        local revoked = any_revoked and task ~= '' and call('ZSCORE', base .. 'revoked', task)
        found[number] = {
            ids[number], deliveries + 1, f[1], f[10], f[11], task, generation, crashes, suspect, revoked and 1 or 0, 0, f[2],
            limits and 1 or 0,
        }
        places[number] = base .. 't:' .. task
    end
    for number, raw in ipairs(call('MGET', unpack(places))) do
        if raw then
            local record = cmsgpack.unpack(raw)
            local over = is_closed(record) and tonumber(record[GENERATION]) >= tonumber(found[number][7])
            found[number][11] = over and 1 or 0
        end
    end
    call('HSET', base .. 'state', unpack(states))
    return found
end

wake_due_rates(now)
if first then
    promote(now)
    -- Its last chance before burial is a run nobody shares, so that no bystander is ever buried.
    for _, queue in ipairs(queues) do
        local id = first_suspect(queue, below)
        if id then
            call('ZREM', base .. 'suspect:' .. queue, id)
            return { text(now), 1, deliver({ id }, 1) }
        end
    end
end
local ids = {}
local function gather(some)
    for _, id in ipairs(some) do ids[#ids + 1] = id end
end

local function pop_ready(queue, wanted)
    while wanted > 0 and put_off < most_put_off do
        local popped, before = call('ZPOPMIN', base .. 'ready:' .. queue, wanted), put_off
        for place = 1, #popped, 2 do
            if not set_aside(popped[place]) then ids[#ids + 1] = popped[place] end
        end
        wanted = put_off - before
    end
end

local function priority_of(name)
    local head = call('ZRANGE', name, 0, 0, 'WITHSCORES')
    return head[2] and 9 - math.floor(tonumber(head[2]) / 562949953421312)
end

-- What is simply ready and what waits in lanes: of the same priority half and half.
local function pop(queue)
    local in_lanes, wanted = priority_of(base .. 'open:' .. queue), limit - #ids
    if not in_lanes then return pop_ready(queue, wanted) end
    local ready = priority_of(base .. 'ready:' .. queue)
    local share = wanted
    if ready and ready > in_lanes then
        share = 0
    elseif ready and ready == in_lanes then
        -- Of an odd one each has the half by turns.
        share = math.floor((wanted + call('INCR', base .. 'turn') % 2) / 2)
    end
    local before = #ids
    gather(take_from_lanes(queue, share, now))
    pop_ready(queue, wanted - (#ids - before))
    if ready then gather(take_from_lanes(queue, wanted - (#ids - before), now)) end
end

for _, queue in ipairs(queues) do
    if #ids < limit then pop(queue) end
end
-- 2: there may be more, of which a script sets only so many aside.
local goes_on = put_off >= most_put_off and 2 or 0
if #ids == 0 then return { text(now), goes_on, {} } end
return { text(now), goes_on, deliver(ids, 0) }

-- name: last_chances
-- needs: pauses
local crashes = take_number()
for _ = 1, take_number() do
    local queue = take()
    for _, id in ipairs(is_paused('queue', queue) and {} or call('ZRANGE', base .. 'suspect:' .. queue, 0, -1)) do
        if state_of(id).crashes >= crashes then return 1 end
    end
end
return 0

-- name: next_due
-- needs: base
local due = call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES')[2]
local free = call('ZRANGE', base .. 'ratefree', 0, 0, 'WITHSCORES')[2]
if due and free then return tonumber(free) < tonumber(due) and free or due end
return due or free

-- name: size
-- needs: base
local queue = take()
return call('ZCARD', base .. 'ready:' .. queue) + call('ZCARD', base .. 'suspect:' .. queue)
    + call('ZCARD', base .. 'delayed:' .. queue) + call('SCARD', base .. 'parked:' .. queue)
    + call('SCARD', base .. 'heldin:' .. queue) + tonumber(call('HGET', base .. 'limited', queue) or 0)

-- name: sizes
-- needs: rows
-- The oldest is found among the first of each priority: who was never delayed is younger than all before it.
local function oldest_in(name, first, last)
    local oldest
    for _, id in ipairs(call('ZRANGEBYSCORE', name, first, last, 'LIMIT', 0, 500)) do
        local row = row_of(id)
        local since = math.max(tonumber(row.sent), tonumber(row.run_at) or 0)
        if not oldest or since < oldest then oldest = since end
        if row.run_at == '' then break end
    end
    return oldest
end

local function oldest_of(queue)
    local oldest = oldest_in(base .. 'suspect:' .. queue, '-inf', '+inf')
    for priority = 0, 9 do
        local since = oldest_in(base .. 'ready:' .. queue, rank(priority, 0), rank(priority - 1, -1))
        if since and (not oldest or since < oldest) then oldest = since end
    end
    return oldest
end

local now, found = clock(), {}
local totals = call('HGETALL', base .. 'queues')
for place = 1, #totals, 2 do
    local queue, total = totals[place], tonumber(totals[place + 1])
    local ready = call('ZCARD', base .. 'ready:' .. queue) + call('ZCARD', base .. 'suspect:' .. queue)
    local delayed = call('ZCARD', base .. 'delayed:' .. queue) + call('SCARD', base .. 'parked:' .. queue)
    local relayed = call('SCARD', base .. 'relayed:' .. queue)
    local limited = tonumber(call('HGET', base .. 'limited', queue) or 0)
    local held = call('SCARD', base .. 'heldin:' .. queue)
    local claimed = total - ready - delayed - relayed - limited - held
    local oldest = ready > 0 and oldest_of(queue)
    found[#found + 1] = {
        queue, ready, delayed, claimed, relayed, limited, held, oldest and text(math.max(0, now - oldest)) or '',
    }
end
return found

-- name: purge
-- needs: records
local queue, most, expires = take(), take_number(), take_number()
local now, dropped = clock(), 0
local function drop(id)
    local row, s = row_of(id), state_of(id)
    take_out(id, row, s)
    delete_message(id, s, queue, row.task)
    if row.task ~= '' then
        free_keys(row.task, now)
        write_end(row, 'REVOKED', 'purged', now, now + expires)
    end
    dropped = dropped + 1
end

for _, where in ipairs({ 'ready:', 'suspect:', 'delayed:' }) do
    if dropped < most then
        for _, id in ipairs(call('ZRANGE', base .. where .. queue, 0, most - dropped - 1)) do drop(id) end
    end
end
for _, lane in ipairs(call('SMEMBERS', base .. 'lanes:' .. queue)) do
    if dropped < most then
        for _, id in ipairs(call('ZRANGE', base .. 'lane:' .. lane, 0, most - dropped - 1)) do drop(id) end
    end
end
if dropped < most then
    -- One that is dropped may let others of these go.
    for _, id in ipairs(call('SRANDMEMBER', base .. 'parked:' .. queue, most - dropped)) do
        if call('SISMEMBER', base .. 'parked:' .. queue, id) == 1 then drop(id) end
    end
end
for _, where in ipairs({ 'relayed:', 'heldin:' }) do
    if dropped < most then
        for _, id in ipairs(call('SRANDMEMBER', base .. where .. queue, most - dropped)) do drop(id) end
    end
end
if dropped > 0 then say('commits') end
return dropped

-- name: lanes
-- needs: rows
local found, most = {}, take_number()
for _, queue in ipairs(call('HKEYS', base .. 'limited')) do
    for _, lane in ipairs(call('SMEMBERS', base .. 'lanes:' .. queue)) do
        if #found == most then return found end
        local _, priority, limits = parts_of(lane)
        found[#found + 1] = {
            queue, tonumber(priority), limits, call('HGET', base .. 'blockedon', lane) or '',
            call('ZCARD', base .. 'lane:' .. lane),
        }
    end
end
return found

-- What waits for a rate longer than the rate can have it wait, as after a clock was set back, is looked at again. Some at
-- once: says how many were looked at, and how many of them again.
-- name: look_again
-- needs: lanes
local now, from, most, found = clock(), take_number(), take_number(), 0
local declared = take()
if declared ~= '' then rules = cjson.decode(declared) end

local function longest(bucket)
    local queue = call('SRANDMEMBER', base .. 'blockedin:' .. bucket)
    local lane = queue and call('ZRANGE', base .. 'blocked:' .. bucket .. '\n' .. queue, 0, 0)[1]
    if not lane then return nil end
    local _, _, limits = parts_of(lane)
    for _, bound in ipairs(bounds_of(limits)) do
        if bound.bucket == bucket then return bound.every or 0 end
    end
    return nil
end

local waiting = call('ZRANGEBYSCORE', base .. 'ratefree', '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', from, most)
for place = 1, #waiting, 2 do
    local every = longest(waiting[place])
    if every and tonumber(waiting[place + 1]) > now + every + 1 then
        call('ZADD', base .. 'ratefree', now, waiting[place])
        found = found + 1
    end
end
if found > 0 then say('work') end
return { #waiting / 2, found }

-- name: taken
-- needs: base
return call('HGETALL', base .. 'slots')
