-- name: page
-- needs: base
-- Of each what filters look at, and no more.
local after, most, found = take(), take_number(), {}
for number, id in ipairs(call('ZRANGEBYSCORE', base .. 'letters', '(' .. after, '+inf', 'LIMIT', 0, most)) do
    found[number] = { id, call('HMGET', base .. 'l:' .. id, 'task', 'name', 'queue', 'error_type', 'error', 'failed', 'print',
        'acked') }
end
return found

-- name: before
-- needs: base
local before, most, found = take(), take_number(), {}
for number, id in ipairs(call('ZREVRANGEBYSCORE', base .. 'letters', '(' .. before, '-inf', 'LIMIT', 0, most)) do
    found[number] = { id, call('HMGET', base .. 'l:' .. id, 'task', 'name', 'queue', 'error_type', 'error', 'failed', 'print',
        'acked') }
end
return found

-- name: of
-- needs: base
-- How many letters each task has, where it has any, and their numbers.
local found = {}
for _ = 1, take_number() do
    local task = take()
    local count = call('HGET', base .. 'lettered', task)
    if count then found[#found + 1] = { task, count, call('HVALS', base .. 'ln:' .. task) } end
end
return found

-- name: read
-- needs: base
local found = {}
for _ = 1, take_number() do
    local id = take()
    local f = call('HMGET', base .. 'l:' .. id, 'task', 'generation', 'name', 'queue', 'reason', 'error_type', 'error',
        'traceback', 'worker', 'failed', 'envelope', 'body', 'priority', 'print', 'acked', 'acked_by', 'note',
        'snoozes')
    if f[1] then
        local attempts = call('LRANGE', base .. 'a:' .. f[1], 0, -1)
        for number, raw in ipairs(attempts) do attempts[number] = cmsgpack.unpack(raw) end
        found[#found + 1] = { id, f, attempts }
    end
end
return found

-- name: redrive
-- needs: sending history acts
local function keep_snoozes(task, snoozes)
    local id = call('HGET', base .. 'live', task)
    local s = state_of(id) or new_state(row_of(id), READY)
    s.snoozes = snoozes
    put_state(id, s)
end

local function take_redrive()
    return {
        number = take(), task = take(), generation = take_number(), snoozes = take_number(), by = take_by(),
        from_start = take() == '1', message = take_message(),
    }
end

-- Sends it, unless that is refused before anything is written; returns what became of it.
local function redrive(r, now)
    local m = r.message
    if call('EXISTS', base .. 'l:' .. r.number) == 0 then return 'gone' end
    if m.key ~= '' then
        local k = holder(m.key, now)
        if k and (k.done == 1 or k.task ~= r.task) then return 'h' .. k.task end
    end
    if call('HEXISTS', base .. 'live', r.task) == 1 then return 'live' end
    -- The letter has kept its chords from being pruned; now they have their time once more to end.
    for _, group in ipairs(call('SMEMBERS', base .. 'lc:' .. r.task)) do
        if call('EXISTS', base .. 'c:' .. group) == 1 then
            touch_chord(group, now)
            call('SADD', base .. 'cf:' .. group, r.task)
        end
    end
    delete_letter(r.number)
    if r.from_start then forget_cursors(r.task) end
    m.awaited, m.generation = true, string.format('%d', math.max(r.generation + 1, next_generation(r.task)))
    send(m, now)
    if r.snoozes > 0 then keep_snoozes(r.task, r.snoozes) end
    act(r.by, 'redriven', r.number, r.task)
    say('commits')
    return 'sent'
end

local now, redrives, answers = clock(), {}, {}
for place = 1, take_number() do redrives[place] = take_redrive() end
for place, r in ipairs(redrives) do answers[place] = redrive(r, now) end
return answers

-- name: purge
-- needs: history acts
local by, dropped = take_by(), 0
for _ = 1, take_number() do
    local number = take()
    local task = call('HGET', base .. 'l:' .. number, 'task')
    if task then
        dropped = dropped + forget_letter(number)
        act(by, 'purged', number, task)
    end
end
return dropped

-- name: acknowledge
-- needs: failures acts
local by, done = take_by(), 0
for _ = 1, take_number() do
    local number = take()
    local task = call('HGET', base .. 'l:' .. number, 'task')
    if task then
        -- What was said before stays, unless there is something else to say.
        local known = call('HGET', base .. 'l:' .. number, 'acked') or ''
        if known == '' or by.note ~= '' then
            call('HSET', base .. 'l:' .. number, 'acked', text(clock()), 'acked_by', by.who, 'note', by.note)
        end
        read_failure(task)
        act(by, 'acknowledged', number, task)
        done = done + 1
    end
end
return done

-- name: reopen
-- needs: acts
local by, done = take_by(), 0
for _ = 1, take_number() do
    local number = take()
    if call('HDEL', base .. 'l:' .. number, 'acked', 'acked_by', 'note') > 0 then
        act(by, 'reopened', number, call('HGET', base .. 'l:' .. number, 'task'))
        done = done + 1
    end
end
return done

-- name: import
-- needs: history records acts chains clock
local function take_letter()
    local l = {
        row = { task = take(), generation = take(), name = take(), queue = take() },
        why = { reason = take(), error_type = take(), error = take(), traceback = take(), worker = take() },
        failed = take(), attempts = {},
    }
    l.row.envelope, l.row.body, l.row.priority = take(), take(), take()
    l.why.print, l.acked, l.acked_by, l.note, l.why.snoozes = take(), take(), take(), take(), take_number()
    l.chains = take_chains()
    for number = 1, take_number() do
        local attempt = {}
        for field = 1, 8 do attempt[field] = take() end
        l.attempts[number] = attempt
    end
    return l
end

-- An older version does not say which letters a task has, nor that one is gone.
local function find_numbers(task)
    call('DEL', base .. 'ln:' .. task)
    for _, number in ipairs(call('ZRANGE', base .. 'letters', 0, -1)) do
        local f = call('HMGET', base .. 'l:' .. number, 'task', 'generation')
        if f[1] == task then call('HSET', base .. 'ln:' .. task, f[2], number) end
    end
end

local function is_known(task, generation)
    if call('HEXISTS', base .. 'live', task) == 1 then return true end
    local record = record_of(task)
    if record and tonumber(record[GENERATION]) > generation then return true end
    local name, count = base .. 'ln:' .. task, tonumber(call('HGET', base .. 'lettered', task) or 0)
    if call('HLEN', name) ~= count then find_numbers(task) end
    for _, known in ipairs(call('HKEYS', name)) do
        if tonumber(known) >= generation then return true end
    end
    return false
end

local function has_attempt(task, attempt)
    for _, raw in ipairs(call('LRANGE', base .. 'a:' .. task, 0, -1)) do
        local known = cmsgpack.unpack(raw)
        if known[1] == attempt[1] and tonumber(known[3]) == tonumber(attempt[3]) then return true end
    end
    return false
end

local by, letters, done = take_by(), {}, 0
for number = 1, take_number() do letters[number] = take_letter() end
for _, l in ipairs(letters) do
    local task = l.row.task
    if not is_known(task, tonumber(l.row.generation)) then
        for _, attempt in ipairs(l.attempts) do
            if not has_attempt(task, attempt) then note_attempt(task, attempt) end
        end
        local number = put_letter(l.row, l.why, l.failed)
        if l.acked ~= '' then
            call('HSET', base .. 'l:' .. number, 'acked', l.acked, 'acked_by', l.acked_by, 'note', l.note)
        end
        write_chains(l.chains, clock())
        act(by, 'imported', number, task)
        done = done + 1
    end
end
return done

-- name: log
-- needs: acts
act(take_by(), take(), '', '')
return 1

-- name: acts
-- needs: base
local task, most, found = take(), take_number(), {}
local name = task == '' and 'acts:all' or 'acts:of:' .. task
for place, number in ipairs(call('ZREVRANGE', base .. name, 0, most - 1)) do
    found[place] = cmsgpack.unpack(call('HGET', base .. 'acts', number))
end
return found
