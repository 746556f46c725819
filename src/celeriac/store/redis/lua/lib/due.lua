-- needs: rows
-- What is due, at most so many at once: a night's worth falling due together would hold up everybody.
local function promote(now)
    local left = 500
    for _, queue in ipairs(call('ZRANGEBYSCORE', base .. 'due', '-inf', now, 'LIMIT', 0, left)) do
        local name = base .. 'delayed:' .. queue
        local ids = call('ZRANGEBYSCORE', name, '-inf', now, 'LIMIT', 0, left)
        for _, id in ipairs(ids) do
            call('ZREM', name, id)
            local s = state_of(id)
            if s.deliveries == 0 and s.crashes == 0 and s.limits == '' then
                call('HDEL', base .. 'state', id)
                make_ready(id, queue, s.priority)
            else
                make_waiting(id, s)
            end
        end
        look_when_due(queue)
        left = left - #ids
        if left <= 0 then return end
    end
end
