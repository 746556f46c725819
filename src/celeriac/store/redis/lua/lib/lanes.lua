-- needs: base clock
-- Limited messages wait in lanes: lane:<lane> has a queue's messages of one priority with the same limits. `lanes:<queue>`
-- has all lanes in which something waits, `open:<queue>` those that may go on, by priority and turn; the others are in
-- blocked:<bucket><queue>, where the bucket is the limit, and the value of its key, that had no room. `slots` counts how many
-- that have a limit are held, `rates` has the theoretical arrival time of a rate's next start (the GCRA, see core/lanes.py).

-- Highest priority first, then in the order of ids, of which a score has room for 2^49.
local function rank(priority, id)
    return (9 - priority) * 562949953421312 + id
end

local function lane_of(queue, priority, limits)
    return queue .. '\n' .. priority .. '\n' .. limits
end

local function parts_of(lane)
    return lane:match('^(.-)\n(%d+)\n(.*)$')
end

-- The numbers that the claiming worker's tasks declare now, by name: they outrank those that came with the message.
local rules, bounds = {}, {}
local function is_given(value)
    return value ~= nil and value ~= cjson.null
end

local function bounds_of(limits)
    if not bounds[limits] then
        local found = {}
        for number, one in ipairs(cjson.decode(limits)) do
            local rule = rules[one[1]] or { one[3], one[4], one[5] }
            found[number] = {
                bucket = one[1] .. '\31' .. one[2],
                slots = is_given(rule[1]) and rule[1],
                every = is_given(rule[2]) and rule[2],
                burst = rule[3],
            }
        end
        bounds[limits] = found
    end
    return bounds[limits]
end

-- What no start can have brought is forgotten: a clock that began anew stops nothing for longer than a burst.
local function arrival(bound, now)
    local tat, most = tonumber(call('ZSCORE', base .. 'rates', bound.bucket) or now), now + bound.every * bound.burst
    if tat > most then
        tat = most
        call('ZADD', base .. 'rates', tat, bound.bucket)
    end
    return math.max(tat, now)
end

local function has_slot(bound)
    return not bound.slots or tonumber(call('HGET', base .. 'slots', bound.bucket) or 0) < bound.slots
end

-- From when the rate lets the next one start.
local function free_at(bound, now)
    return arrival(bound, now) - bound.every * (bound.burst - 1)
end

local function has_room(bound, now)
    return has_slot(bound) and not (bound.every and free_at(bound, now) > now + 0.000001)
end

local function first_full(limits, now)
    for _, bound in ipairs(bounds_of(limits)) do
        if not has_room(bound, now) then
            if has_slot(bound) then call('ZADD', base .. 'ratefree', free_at(bound, now), bound.bucket) end
            return bound
        end
    end
    return nil
end

local function take_slots(limits, now)
    for _, bound in ipairs(bounds_of(limits)) do
        call('HINCRBY', base .. 'slots', bound.bucket, 1)
        if bound.every then call('ZADD', base .. 'rates', arrival(bound, now) + bound.every, bound.bucket) end
    end
end

-- Have one more lane looked at again, in every queue: not each has a worker.
local function wake(bucket)
    for _, queue in ipairs(call('SMEMBERS', base .. 'blockedin:' .. bucket)) do
        local name = base .. 'blocked:' .. bucket .. '\n' .. queue
        local popped = call('ZPOPMIN', name)
        if popped[1] then
            call('HDEL', base .. 'blockedon', popped[1])
            call('ZADD', base .. 'open:' .. queue, popped[2], popped[1])
            say('work')
        end
        if call('EXISTS', name) == 0 then call('SREM', base .. 'blockedin:' .. bucket, queue) end
    end
end

local function wake_others(limits)
    for _, bound in ipairs(bounds_of(limits)) do wake(bound.bucket) end
end

local function free_slots(limits)
    for _, bound in ipairs(bounds_of(limits)) do
        if call('HINCRBY', base .. 'slots', bound.bucket, -1) <= 0 then call('HDEL', base .. 'slots', bound.bucket) end
        wake(bound.bucket)
    end
end

-- What expired while it waited is given out to be refused, and starts nothing.
local function is_over(expires, now)
    return expires ~= '' and tonumber(expires) < now
end

local function give_back(limits)
    for _, bound in ipairs(bounds_of(limits)) do
        if bound.every then call('ZINCRBY', base .. 'rates', -bound.every, bound.bucket) end
    end
    free_slots(limits)
end

local function block(lane, queue, bucket)
    local score = call('ZSCORE', base .. 'open:' .. queue, lane)
    call('ZREM', base .. 'open:' .. queue, lane)
    call('ZADD', base .. 'blocked:' .. bucket .. '\n' .. queue, score, lane)
    call('SADD', base .. 'blockedin:' .. bucket, queue)
    call('HSET', base .. 'blockedon', lane, bucket)
end

local function unblock(lane, queue)
    local bucket = call('HGET', base .. 'blockedon', lane)
    if not bucket then return end
    local name = base .. 'blocked:' .. bucket .. '\n' .. queue
    call('ZREM', name, lane)
    call('HDEL', base .. 'blockedon', lane)
    if call('EXISTS', name) == 0 then call('SREM', base .. 'blockedin:' .. bucket, queue) end
end

local function enter_lane(id, queue, priority, limits)
    local lane = lane_of(queue, priority, limits)
    if call('SADD', base .. 'lanes:' .. queue, lane) == 1 then
        call('ZADD', base .. 'open:' .. queue, rank(priority, call('INCR', base .. 'turn')), lane)
        say('work')
    end
    call('ZADD', base .. 'lane:' .. lane, id, id)
    call('HINCRBY', base .. 'limited', queue, 1)
end

-- A message has gone from a lane; one in which nothing waits is none.
local function gone_from(lane, queue, limits)
    if call('HINCRBY', base .. 'limited', queue, -1) <= 0 then call('HDEL', base .. 'limited', queue) end
    if call('EXISTS', base .. 'lane:' .. lane) == 1 then return end
    call('SREM', base .. 'lanes:' .. queue, lane)
    call('ZREM', base .. 'open:' .. queue, lane)
    unblock(lane, queue)
    -- It may have been the one that was to use what has room.
    wake_others(limits)
end

local function leave_lane(id, queue, priority, limits)
    local lane = lane_of(queue, priority, limits)
    call('ZREM', base .. 'lane:' .. lane, id)
    gone_from(lane, queue, limits)
end

local function wake_due_rates(now)
    for _, bucket in ipairs(call('ZRANGEBYSCORE', base .. 'ratefree', '-inf', now, 'LIMIT', 0, 500)) do
        call('ZREM', base .. 'ratefree', bucket)
        wake(bucket)
    end
end

-- Puts a message aside whose task is paused, and says whether it has (pauses.lua). A script does so for a bounded number, so
-- that nobody waits long for it.
local pausing, put_off, most_put_off = false, 0, 2000
local function set_aside() return false end

-- Before a lane is asked for room: what is set aside uses none. Whether something else waits there.
local function clear_head(lane)
    while put_off < most_put_off do
        local head = call('ZRANGE', base .. 'lane:' .. lane, 0, 0)[1]
        if not head then return false end
        if not set_aside(head) then return true end
    end
    return false
end

-- Take one message from a lane, or block it.
local function serve(lane, queue, now, found)
    local _, priority, limits = parts_of(lane)
    local bound = first_full(limits, now)
    if bound then
        block(lane, queue, bound.bucket)
    else
        found[#found + 1] = call('ZPOPMIN', base .. 'lane:' .. lane)[1]
        take_slots(limits, now)
        call('ZADD', base .. 'open:' .. queue, rank(tonumber(priority), call('INCR', base .. 'turn')), lane)
        gone_from(lane, queue, limits)
    end
    for _, other in ipairs(bounds_of(limits)) do
        if has_room(other, now) then wake(other.bucket) end
    end
end

-- Up to so many messages from a queue's lanes, in turns of one; they have their slots.
local function take_from_lanes(queue, wanted, now)
    local found, looks = {}, wanted * 4 + 100
    -- Each look serves a lane or blocks it, or all in it is set aside.
    while looks > 0 and put_off < most_put_off do
        local lane = #found < wanted and call('ZRANGE', base .. 'open:' .. queue, 0, 0)[1]
        if not lane then break end
        if not pausing or clear_head(lane) then
            looks = looks - 1
            serve(lane, queue, now, found)
        end
    end
    return found
end
