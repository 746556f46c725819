-- name: adopt
-- needs: sending due pauses
-- Messages that another broker delivered become rows that are held already, or wait until they are due.
local lease_until, owner, below = clock() + take_number(), take(), take_number()
local now, messages, answers = clock(), take_messages(), {}
go_on()

local function facts(id, row, s, suspect)
    local revoked = row.task ~= '' and call('ZSCORE', base .. 'revoked', row.task)
    local record = record_of(row.task)
    local over = record and is_closed(record) and tonumber(record[GENERATION]) >= tonumber(row.generation)
    return {
        id, s.deliveries, row.queue, row.envelope, row.body, row.task, row.generation, s.crashes, suspect,
        revoked and 1 or 0, over and 1 or 0, row.priority, s.limits ~= '' and 1 or 0,
    }
end

local function hold(id, row, s)
    take_out(id, row, s)
    s.status, s.deliveries, s.started, s.owner = CLAIMED, s.deliveries + 1, '', owner
    put_state(id, s)
    call('ZADD', base .. 'leases', lease_until, id)
end

local function adopt_new(m)
    local record = record_of(m.task)
    if record and is_closed(record) then return 'settled' end
    m.generation = record and record[GENERATION] or '0'
    insert(m, false, now)
    local id = call('HGET', base .. 'live', m.task)
    local s = state_of(id)
    if s and (s.status == DELAYED or s.status == LANED) then return 'delayed' end
    if set_aside(id) then return 'delayed' end
    s = s or new_state(m, READY)
    hold(id, m, s)
    return facts(id, m, s, 0)
end

-- Of a task that the ledger has, its row is what counts, and not the copy that came.
local function take_over(id)
    local row, s = row_of(id), state_of(id)
    s = s or new_state(row, READY)
    local suspect = s.status == SUSPECT or s.status == RELAYED_SUSPECT
    if suspect and s.crashes >= below then return 'alone' end
    if not (suspect or s.status == READY or s.status == RELAYED) then return 'held' end
    if set_aside(id) then return 'delayed' end
    hold(id, row, s)
    return facts(id, row, s, suspect and 1 or 0)
end

for number, m in ipairs(messages) do
    local id = call('HGET', base .. 'live', m.task)
    answers[number] = id and take_over(id) or adopt_new(m)
end
say('commits')
return { text(now), answers }

-- name: take
-- needs: rows due pauses
-- What the broker is to be given now: what nobody has held up, and what was given and not adopted in its time.
local lease_until, most, now = clock() + take_number(), take_number(), clock()
local declared = take()
if declared ~= '' then rules = cjson.decode(declared) end
promote(now)
wake_due_rates(now)
local ids, found = {}, {}
-- From a sorted set, in its order; what is set aside leaves it.
local function gather(name, may, bound)
    local from = 0
    while #ids < most and put_off < most_put_off do
        local some = bound and call('ZRANGEBYSCORE', name, '-inf', bound, 'LIMIT', from, most - #ids)
            or call('ZRANGE', name, from, from + most - #ids - 1)
        for _, id in ipairs(some) do
            if not set_aside(id) then
                from = from + 1
                if may(id) then ids[#ids + 1] = id end
            end
        end
        if #some == 0 then return end
    end
end

local function may_start(id)
    local s = state_of(id)
    if not s or s.limits == '' then return true end
    if first_full(s.limits, now) then return false end
    take_slots(s.limits, now)
    return true
end

local function any() return true end

local function of_open_queue(id)
    return not (paused and is_paused('queue', row_of(id).queue))
end

local function open_ones(name)
    local open = {}
    for _, queue in ipairs(call('HKEYS', base .. name)) do
        if not is_paused('queue', queue) then open[#open + 1] = queue end
    end
    return open
end

local queues = open_ones('queues')
for _, queue in ipairs(queues) do gather(base .. 'suspect:' .. queue, may_start) end
-- Those have left their lanes already.
local laned = {}
for _, queue in ipairs(open_ones('limited')) do
    for _, id in ipairs(take_from_lanes(queue, math.floor((most - #ids + 1) / 2), now)) do
        laned[id], ids[#ids + 1] = true, id
    end
end
for _, queue in ipairs(queues) do gather(base .. 'ready:' .. queue, any) end
gather(base .. 'relayed', of_open_queue, now)
for number, id in ipairs(ids) do
    local row, s = row_of(id), state_of(id)
    s = s or new_state(row, READY)
    if not laned[id] then take_out(id, row, s) end
    local suspect, again = s.status == SUSPECT or s.status == RELAYED_SUSPECT, s.status == RELAYED or s.status == RELAYED_SUSPECT
    local limited = s.limits ~= ''
    if limited and not again and is_over(row.expires, now) then
        give_back(s.limits)
        s.limits = ''
    end
    s.status = suspect and RELAYED_SUSPECT or RELAYED
    put_state(id, s)
    call('ZADD', base .. 'relayed', lease_until, id)
    call('SADD', base .. 'relayed:' .. row.queue, id)
    found[number] = {
        id, s.deliveries, row.queue, row.envelope, row.body, row.task, row.generation, s.crashes, suspect and 1 or 0, 0, 0,
        row.priority, limited and 1 or 0,
    }
end
return { text(now), 0, found }

-- name: relayed
-- needs: rows
local until_ = clock() + take_number()
for _ = 1, take_number() do
    local id, token = take(), take_number()
    local s = state_of(id)
    if s and (s.status == RELAYED or s.status == RELAYED_SUSPECT) and s.deliveries == token then
        call('ZADD', base .. 'relayed', until_, id)
    end
end
return 1

-- name: again
-- needs: rows
local queue, missing, again, now, hastened = take(), take_number(), take_number(), clock(), 0
for _, id in ipairs(call('SMEMBERS', base .. 'relayed:' .. queue)) do
    local since = tonumber(call('ZSCORE', base .. 'relayed', id)) - again
    -- Each time takes twice as long.
    if since <= now - missing and now - since >= since - tonumber(row_of(id).sent) then
        call('ZADD', base .. 'relayed', 0, id)
        hastened = hastened + 1
    end
end
if hastened > 0 then
    say('work')
    say('commits')
end
return hastened
