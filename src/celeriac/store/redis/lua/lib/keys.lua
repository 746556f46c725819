-- needs: rows
-- An idempotency key is a packed list under k:<key>; h:<task id> is the set of the keys that a task has, held or done.
local function key_row(key)
    local raw = call('GET', base .. 'k:' .. key)
    if not raw then return nil end
    local f = cmsgpack.unpack(raw)
    return { task = f[1], digest = f[2], ttl = f[3], done = f[4], expires = f[5] }
end

local function put_key(key, k)
    call('SET', base .. 'k:' .. key, cmsgpack.pack({ k.task, k.digest, k.ttl, k.done, k.expires }))
end

-- Who waits and will be refused when it is claimed, holds nothing.
local function waits_in_vain(task, now)
    local id = call('HGET', base .. 'live', task)
    if not id then return false end
    local s = state_of(id)
    if s and s.status == CLAIMED then return false end
    local row = row_of(id)
    return (row.expires ~= '' and tonumber(row.expires) <= now) or call('ZSCORE', base .. 'revoked', task)
end

local function holder(key, now)
    local k = key_row(key)
    if not k then return nil end
    if k.done == 1 then
        if k.expires <= now then return nil end
    elseif waits_in_vain(k.task, now) then
        return nil
    end
    return k
end

local function drop_key(key, k)
    call('DEL', base .. 'k:' .. key)
    call('SREM', base .. 'h:' .. k.task, key)
    if k.done == 1 then call('ZREM', base .. 'expiry:keys', key) end
end

local function take_key(key, task, digest, ttl)
    local old = key_row(key)
    if old then drop_key(key, old) end
    put_key(key, { task = task, digest = digest, ttl = tonumber(ttl), done = 0, expires = 0 })
    call('SADD', base .. 'h:' .. task, key)
end

-- Each that waits for the key finds out for itself what became of it.
local function unpark(key, now)
    local name = base .. 'waiting:' .. key
    for _, id in ipairs(call('SMEMBERS', name)) do
        local s, row = state_of(id), row_of(id)
        call('SREM', base .. 'parked:' .. row.queue, id)
        if row.run_at ~= '' and tonumber(row.run_at) > now then
            s.status = DELAYED
            put_state(id, s)
            make_delayed(id, row.queue, row.run_at)
        else
            make_waiting(id, s)
        end
    end
    call('DEL', name)
end

local function held_keys(task)
    local found = {}
    for _, key in ipairs(call('SMEMBERS', base .. 'h:' .. task)) do
        local k = key_row(key)
        if k.done == 0 then found[#found + 1] = { key, k } end
    end
    return found
end

-- The task succeeded: its keys stay taken for their time to live.
local function keep_keys(task, now)
    for _, one in ipairs(held_keys(task)) do
        local key, k = one[1], one[2]
        k.done, k.expires = 1, now + k.ttl
        put_key(key, k)
        call('ZADD', base .. 'expiry:keys', k.expires, key)
        unpark(key, now)
    end
end

-- The task is over without success: whoever waits for its keys may run.
local function free_keys(task, now)
    for _, one in ipairs(held_keys(task)) do
        drop_key(one[1], one[2])
        unpark(one[1], now)
    end
end
