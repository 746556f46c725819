-- name: prune
-- needs: records history acts workflows
-- At most so many of a kind; returns how many of all.
local now, attempts_before, letters_before, broadcasts_before, most =
    take_number(), take_number(), take_number(), take_number(), take_number()

-- Seconds after which what is spared is looked at again.
local LOOK_AGAIN = 3600

go_on()
local function over(index, before)
    return call('ZRANGEBYSCORE', base .. index, '-inf', '(' .. string.format('%.6f', before), 'LIMIT', 0, most)
end

local function prune_attempts()
    local pruned = 0
    for _, task in ipairs(over('history', attempts_before)) do
        if call('HEXISTS', base .. 'lettered', task) == 1 then
            -- Kept as long as the dead letter, whose end looks at it again.
            call('ZADD', base .. 'history', 'inf', task)
        else
            local name = base .. 'a:' .. task
            local oldest = call('LINDEX', name, 0)
            while oldest and tonumber(cmsgpack.unpack(oldest)[3]) < attempts_before do
                call('LPOP', name)
                pruned = pruned + 1
                oldest = call('LINDEX', name, 0)
            end
            look_when_old(task)
        end
    end
    return pruned
end

local function prune_broadcasts()
    local pruned = 0
    for _, exchange in ipairs(call('SMEMBERS', base .. 'exchanges')) do
        local name = base .. 'b:' .. exchange
        local old = {}
        for _, entry in ipairs(call('XRANGE', name, '-', '+', 'COUNT', most)) do
            if tonumber(entry[2][8]) >= broadcasts_before then break end
            old[#old + 1] = entry[1]
        end
        if #old > 0 then pruned = pruned + call('XDEL', name, unpack(old)) end
        if call('XLEN', name) == 0 then
            call('DEL', name)
            call('SREM', base .. 'exchanges', exchange)
        end
    end
    return pruned
end

local function prune_bindings()
    local pruned = 0
    for _, exchange in ipairs(call('SMEMBERS', base .. 'bound')) do
        local name = base .. 'bound:' .. exchange
        local bindings = call('HGETALL', name)
        for place = 1, #bindings, 2 do
            local queue = cmsgpack.unpack(bindings[place])[3]
            if tonumber(bindings[place + 1]) < attempts_before and queue:find('%.reply%.celery%.pidbox$') then
                pruned = pruned + call('HDEL', name, bindings[place])
            end
        end
    end
    return pruned
end

-- Whether a dead letter could still complete it.
local function is_held_open(group)
    for _, task in ipairs(call('SMEMBERS', base .. 'cl:' .. group)) do
        if call('HEXISTS', base .. 'lettered', task) == 1 then return true end
    end
    return false
end

local function prune_chords()
    local pruned = 0
    for _, group in ipairs(over('chords:over', attempts_before)) do
        if is_held_open(group) then
            -- The end of the dead letter looks at it again.
            call('ZADD', base .. 'chords:over', 'inf', group)
        else
            pruned = pruned + call('UNLINK', base .. 'c:' .. group, base .. 'p:' .. group, base .. 'cl:' .. group,
                base .. 'cf:' .. group)
            call('ZREM', base .. 'chords:over', group)
        end
    end
    return pruned
end

-- Whether any of these, tasks and chords, can still need what they once needed.
local function any_needs(holders)
    local chords = {}
    for number, holder in ipairs(holders) do chords[number] = base .. 'c:' .. holder end
    if call('EXISTS', unpack(chords)) > 0 then return true end
    for _, where in ipairs({ 'live', 'lettered' }) do
        for _, found in ipairs(call('HMGET', base .. where, unpack(holders))) do
            if found then return true end
        end
    end
    return false
end

local function is_needed(chain)
    local name = base .. 'nh:' .. chain
    local newest = call('ZREVRANGE', name, 0, 0, 'WITHSCORES')[2]
    if newest and tonumber(newest) >= attempts_before then return true end
    for first = 0, call('ZCARD', name) - 1, 500 do
        -- Of those who go one after the other, the youngest is there.
        if any_needs(call('ZREVRANGE', name, first, first + 499)) then return true end
    end
    return false
end

local function prune_chains()
    local pruned = 0
    for _, chain in ipairs(over('chains', attempts_before)) do
        if is_needed(chain) then
            call('ZADD', base .. 'chains', now, chain)
        else
            for _, holder in ipairs(call('ZRANGE', base .. 'nh:' .. chain, 0, -1)) do
                call('SREM', base .. 'nt:' .. holder, chain)
            end
            pruned = pruned + call('UNLINK', base .. 'n:' .. chain, base .. 'nh:' .. chain)
            call('ZREM', base .. 'chains', chain)
        end
    end
    return pruned
end

local function prune_acts()
    local old = over('acts:at', attempts_before)
    for _, number in ipairs(old) do
        local task = cmsgpack.unpack(call('HGET', base .. 'acts', number))[5]
        if task ~= '' then call('ZREM', base .. 'acts:of:' .. task, number) end
        call('HDEL', base .. 'acts', number)
        call('ZREM', base .. 'acts:all', number)
        call('ZREM', base .. 'acts:at', number)
    end
    return #old
end

local total = 0
-- A rate whose next start was due is as good as new.
call('ZREMRANGEBYSCORE', base .. 'rates', '-inf', now - 60)
for _, task in ipairs(over('expiry:tasks', now)) do
    forget_record(task)
    total = total + 1
end
for _, group in ipairs(over('expiry:groups', now)) do
    local state = call('HGET', base .. 'c:' .. group, 'state')
    if state and state ~= 'sent' then
        -- The tree of a header is what its chord is joined by, whenever that is.
        call('ZADD', base .. 'expiry:groups', now + LOOK_AGAIN, group)
    else
        call('DEL', base .. 'g:' .. group)
        call('ZREM', base .. 'expiry:groups', group)
        total = total + 1
    end
end
for _, task in ipairs(over('revoked', now)) do
    total = total + call('ZREM', base .. 'revoked', task)
end
for _, key in ipairs(over('expiry:keys', now)) do
    drop_key(key, key_row(key))
    total = total + 1
end
total = total + prune_chords()
for _, id in ipairs(over('workflows:over', attempts_before)) do
    forget_workflow(id)
    total = total + 1
end
for _, task in ipairs(over('failures:loose', attempts_before)) do total = total + read_failure(task) end
if letters_before then
    for _, number in ipairs(over('letters:failed', letters_before)) do total = total + forget_letter(number) end
end
return total + prune_attempts() + prune_broadcasts() + prune_bindings() + prune_acts() + prune_chains()
