-- needs: base clock
-- A workflow is a hash w:<id>. `workflows` has all by when they were sent, `workflows:open` those of which more is to be
-- known by when they were looked at, `workflows:over` the others by when their end was noted, `workflows:cancelled` those
-- that somebody has cancelled by when, and wn:<task id> leads from a node to its workflow.
local WORKFLOW = { 'name', 'shape', 'on_failure', 'parent', 'sent', 'cancelled_at', 'cancelled_by', 'state', 'outcome', 'kept_at' }

local function record_workflow(given, now)
    local id, name, shape, on_failure, parent = unpack(cjson.decode(given))
    if call('EXISTS', base .. 'w:' .. id) == 1 then return end
    call('HSET', base .. 'w:' .. id, 'name', name, 'shape', shape, 'on_failure', on_failure, 'parent', parent,
        'sent', text(now), 'cancelled_at', '', 'cancelled_by', '', 'state', 'running', 'outcome', '')
    call('ZADD', base .. 'workflows', now, id)
    call('ZADD', base .. 'workflows:open', 0, id)
    for _, node in ipairs(cjson.decode(shape)) do call('SET', base .. 'wn:' .. node[1], id) end
end

local function read_workflow(id)
    local found = call('HMGET', base .. 'w:' .. id, unpack(WORKFLOW))
    if not found[1] then return nil end
    table.insert(found, 1, id)
    return found
end

-- False when it was cancelled before, or is not known.
local function cancel_workflow(id, by, now)
    local name = base .. 'w:' .. id
    if call('HGET', name, 'cancelled_at') ~= '' then return false end
    call('HSET', name, 'cancelled_at', text(now), 'cancelled_by', by)
    call('ZADD', base .. 'workflows:cancelled', now, id)
    return true
end

local function forget_workflow(id)
    local shape = call('HGET', base .. 'w:' .. id, 'shape')
    if shape then
        for _, node in ipairs(cjson.decode(shape)) do call('DEL', base .. 'wn:' .. node[1]) end
    end
    call('DEL', base .. 'w:' .. id)
    for _, index in ipairs({ 'workflows', 'workflows:open', 'workflows:over', 'workflows:cancelled' }) do
        call('ZREM', base .. index, id)
    end
end
