-- needs: base clock
-- A chord is a hash c:<group>, its members' results a hash p:<group>. `chords:waiting` has those that are complete and
-- whose body nobody has sent, `chords:over` those that are closed. A member has succeeded (1), failed (0) or was cancelled
-- (-1); `failed` counts all that have not succeeded.
local function touch_chord(group, now)
    local name = base .. 'c:' .. group
    call('HSETNX', name, 'state', 'open')
    call('HSET', name, 'updated', now)
    call('ZADD', base .. 'chords:over', 'XX', now, group)
    return name
end

local function grow_chord(group, by, now)
    call('HINCRBY', touch_chord(group, now), 'grown', by)
end

local function size_chord(group, size, now)
    call('HSET', touch_chord(group, now), 'size', size)
end

local function save_group(group, tree, expires)
    call('SET', base .. 'g:' .. group, tree)
    if expires ~= '' then
        call('ZADD', base .. 'expiry:groups', expires, group)
    else
        call('ZREM', base .. 'expiry:groups', group)
    end
end

-- What chords are joined by, which comes with a message of one of their members.
local function take_joins(count)
    local joins = {}
    for number = 1, count do joins[number] = { group = take(), size = take(), tree = take(), expires = take() } end
    return joins
end

local function join_chords(joins, now)
    for _, join in ipairs(joins or {}) do
        if join.size ~= '' then size_chord(join.group, join.size, now) end
        if join.tree ~= '' then save_group(join.group, join.tree, join.expires) end
    end
end

-- One that has failed is complete again when its last failure is put right, and when a member fails `anew`.
local function complete_chord(group, now, anew)
    local name = base .. 'c:' .. group
    local size, grown, state, failed = unpack(call('HMGET', name, 'size', 'grown', 'state', 'failed'))
    if not size then return false end
    if not (state == 'open' or (state == 'failed' and (anew or tonumber(failed or 0) == 0))) then return false end
    if size + (grown or 0) > call('HLEN', base .. 'p:' .. group) then return false end
    call('HSET', name, 'completed', now, 'state', 'open')
    call('ZREM', base .. 'chords:over', group)
    call('ZADD', base .. 'chords:waiting', now, group)
    return true
end

local function take_part()
    return { group = take(), task = take(), position = take(), succeeded = take(), result = take(), body = take() }
end

-- Count a member; true when the chord is now complete.
local function add_part(part, now)
    local name = touch_chord(part.group, now)
    if part.body ~= '' then call('HSETNX', name, 'body', part.body) end
    local members = base .. 'p:' .. part.group
    local old = call('HGET', members, part.task)
    local failed, cancelled = part.succeeded == '1' and 0 or 1, part.succeeded == '-1' and 1 or 0
    if old then
        local before = cmsgpack.unpack(old)[2]
        if before == '1' then return false end -- it had succeeded before
        failed, cancelled = failed - 1, cancelled - (before == '-1' and 1 or 0)
    end
    call('HSET', members, part.task, cmsgpack.pack({ part.position, part.succeeded, part.result }))
    if failed ~= 0 then call('HINCRBY', name, 'failed', failed) end
    -- Those that have failed are in cf:<group> too: where one is sent again, it has not ended yet.
    if part.succeeded == '0' then
        call('SADD', base .. 'cf:' .. part.group, part.task)
    elseif old then
        call('SREM', base .. 'cf:' .. part.group, part.task)
    end
    if cancelled ~= 0 then call('HINCRBY', name, 'cancelled', cancelled) end
    return complete_chord(part.group, now, part.succeeded ~= '1')
end
