-- name: read
-- needs: workflows
return read_workflow(take())

-- name: newest
-- needs: workflows
-- Several may have been sent at the same time; one that is forgotten meanwhile has none beside it that are not.
local before, last, most, found = take(), take(), take_number(), {}
local rank = call('ZREVRANK', base .. 'workflows', last)
local ids
if rank then
    ids = call('ZREVRANGE', base .. 'workflows', rank + 1, rank + most)
else
    local bound = before == '' and '+inf' or '(' .. before
    ids = call('ZREVRANGEBYSCORE', base .. 'workflows', bound, '-inf', 'LIMIT', 0, most)
end
for _, id in ipairs(ids) do found[#found + 1] = read_workflow(id) end
return found

-- name: unfinished
-- needs: workflows
local found = {}
for _, id in ipairs(call('ZRANGE', base .. 'workflows:open', 0, take_number() - 1)) do
    found[#found + 1] = read_workflow(id)
end
return found

-- name: find
-- needs: rows
-- What the task's message says, where it waits or runs, and of which workflow it is a node.
local task = take()
local id = call('HGET', base .. 'live', task)
local row = id and row_of(id)
return { row and row.envelope or '', call('GET', base .. 'wn:' .. task) or '' }

-- name: cancel
-- needs: workflows
return cancel_workflow(take(), take(), clock()) and 1 or 0

-- name: cancelled
-- needs: base
return call('ZRANGEBYSCORE', base .. 'workflows:cancelled', take(), '+inf')

-- name: note
-- needs: workflows joins
local id, state, outcome, now = take(), take(), take(), clock()
local name = base .. 'w:' .. id
local known = call('HGET', name, 'state')
if not known then return 0 end
call('HSET', name, 'state', state, 'outcome', outcome)
if state == 'running' or state == 'blocked' then
    call('ZADD', base .. 'workflows:open', now, id)
else
    call('ZREM', base .. 'workflows:open', id)
end
if state == 'running' then
    call('ZREM', base .. 'workflows:over', id)
elseif known == state then
    call('ZADD', base .. 'workflows:over', 'NX', now, id)
else
    call('ZADD', base .. 'workflows:over', now, id)
end
for _ = 1, take_number() do
    local group = take()
    local size, open = unpack(call('HMGET', base .. 'c:' .. group, 'size', 'state'))
    if open == 'open' and not size then
        call('HSET', base .. 'c:' .. group, 'state', 'sent', 'updated', now)
        call('ZADD', base .. 'chords:over', now, group)
    end
end
return 1

-- name: kept
-- needs: workflows
-- One that was noted as lost goes on: what is to come of it was somewhere else.
local now = clock()
for _ = 1, take_number() do
    local id = take()
    local state = call('HGET', base .. 'w:' .. id, 'state')
    if state then call('HSET', base .. 'w:' .. id, 'kept_at', text(now)) end
    if state == 'lost' then
        call('HSET', base .. 'w:' .. id, 'state', 'running')
        call('ZREM', base .. 'workflows:over', id)
        call('ZADD', base .. 'workflows:open', now, id)
    end
end
return 1

-- name: counted
-- needs: base
local found = {}
for _ = 1, take_number() do
    local group = take()
    local ended = call('HLEN', base .. 'p:' .. group)
    local failed, cancelled = unpack(call('HMGET', base .. 'c:' .. group, 'failed', 'cancelled'))
    failed, cancelled = tonumber(failed or 0), tonumber(cancelled or 0)
    local letters, again = 0, 0
    if failed > 0 then
        for _, task in ipairs(call('SMEMBERS', base .. 'cl:' .. group)) do
            letters = letters + tonumber(call('HGET', base .. 'lettered', task) or 0)
        end
        for _, task in ipairs(call('SMEMBERS', base .. 'cf:' .. group)) do again = again + call('HEXISTS', base .. 'live', task) end
    end
    if ended > 0 then found[#found + 1] = { group, ended - failed, failed - cancelled, cancelled, letters, again } end
end
return found

-- name: times
-- needs: records
-- Of some of a group's members: where to go on, when the first began and when the last ended.
local members = base .. 'p:' .. take()
local cursor, some = unpack(call('HSCAN', members, take(), 'COUNT', take()))
local first, last
for at = 1, #some, 2 do
    local record = record_of(some[at])
    local started, finished = record and tonumber(record[STARTED]), record and tonumber(record[FINISHED])
    if started and (not first or started < first) then first = started end
    if finished and (not last or finished > last) then last = finished end
end
return { cursor, first and text(first) or '', last and text(last) or '' }

-- name: under_way
-- needs: rows
-- Of some of the tasks that are live, and where to go on.
local cursor, tasks = unpack(call('HSCAN', base .. 'live', take(), 'COUNT', take()))
local found = {}
for number = 2, #tasks, 2 do
    local row = row_of(tasks[number])
    -- Within a text of the envelope's, quotes are escaped.
    local workflow = row and row.envelope:match('"celeriac_workflow": ?%[ ?"([^"]+)"')
    if workflow then found[#found + 1] = workflow end
end
return { cursor, found }

-- name: letters
-- needs: base
-- Of so many that failed since: how many there were, and the envelopes of those that name the workflow.
local workflow, since, first, most = take(), take(), take_number(), take_number()
local seen, found = call('ZRANGEBYSCORE', base .. 'letters:failed', since, '+inf', 'LIMIT', first, most), {}
for _, number in ipairs(seen) do
    local envelope = call('HGET', base .. 'l:' .. number, 'envelope')
    if envelope and envelope:find(workflow, 1, true) then found[#found + 1] = { number, envelope } end
end
return { #seen, found }

-- name: claimed
-- needs: rows
local workflow, found = take(), {}
for _, id in ipairs(call('ZRANGE', base .. 'leases', 0, -1)) do
    local row = row_of(id)
    if row and row.task ~= '' and row.envelope:find(workflow, 1, true) then
        local s = state_of(id)
        found[#found + 1] = { row.task, s and s.status == CLAIMED and s.started ~= '' and 1 or 0, row.envelope }
    end
end
return found
