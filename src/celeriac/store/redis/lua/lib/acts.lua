-- needs: base clock
-- Who did what with dead letters and failures: a packed list each in the hash `acts`, whose numbers are in the sets
-- `acts:all`, `acts:at` by their time, and acts:of:<task id>.
local function act(by, verb, letter, task)
    local number, now = call('INCR', base .. 'acts:last'), clock()
    call('HSET', base .. 'acts', number, cmsgpack.pack({ text(now), by.who, verb, letter, task, by.note }))
    call('ZADD', base .. 'acts:all', number, number)
    call('ZADD', base .. 'acts:at', now, number)
    if task ~= '' then call('ZADD', base .. 'acts:of:' .. task, number, number) end
end

local function take_by()
    return { who = take(), note = take() }
end
