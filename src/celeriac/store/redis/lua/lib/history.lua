-- needs: rows failures checkpoints
-- Attempts that did not simply succeed: a list a:<task id>, the oldest first, and the set `history` of tasks by the end
-- of their oldest. Dead letters: a hash l:<number> each, and in ln:<task id> its number by the generation, which an older
-- version did not write. A task's history is kept as long as it has one of these, and so are the chords lc:<task id> that it
-- could complete: for each the set cl:<group> of such tasks.
local function note_attempt(task, attempt)
    call('RPUSH', base .. 'a:' .. task, cmsgpack.pack(attempt))
    call('ZADD', base .. 'history', 'NX', attempt[3], task)
end

local function note_crash(s, error, now)
    if s.task == '' then return end
    note_attempt(s.task, {
        s.generation, s.started, text(now), s.owner, 'crashed', 'tWorkerLostError', error, '',
    })
end

local function put_letter(row, why, failed)
    local number = call('INCR', base .. 'letters:last')
    call('HSET', base .. 'l:' .. number, 'task', row.task, 'generation', row.generation, 'name', row.name,
        'queue', row.queue, 'priority', row.priority, 'reason', why.reason, 'error_type', why.error_type,
        'error', why.error, 'traceback', why.traceback, 'worker', why.worker, 'failed', failed,
        'envelope', row.envelope, 'body', row.body, 'print', why.print, 'snoozes', why.snoozes or 0)
    call('ZADD', base .. 'letters', number, number)
    call('ZADD', base .. 'letters:failed', failed, number)
    call('HINCRBY', base .. 'lettered', row.task, 1)
    call('HSET', base .. 'ln:' .. row.task, row.generation, number)
    return number
end

local function bury(id, why, now)
    why.snoozes = state_of(id).snoozes
    put_letter(row_of(id), why, text(now))
end

local function hold_chord(task, group)
    call('SADD', base .. 'lc:' .. task, group)
    call('SADD', base .. 'cl:' .. group, task)
end

-- `chords:over` says again since when they are over.
local function let_go_of_chords(task)
    local name = base .. 'lc:' .. task
    for _, group in ipairs(call('SMEMBERS', name)) do
        call('SREM', base .. 'cl:' .. group, task)
        local updated = call('HGET', base .. 'c:' .. group, 'updated')
        if updated then call('ZADD', base .. 'chords:over', 'XX', updated, group) end
    end
    call('DEL', name)
end

-- `history` says again when a task's oldest attempt ended.
local function look_when_old(task)
    local oldest = call('LINDEX', base .. 'a:' .. task, 0)
    if oldest then
        call('ZADD', base .. 'history', cmsgpack.unpack(oldest)[3], task)
    else
        call('ZREM', base .. 'history', task)
    end
end

local function delete_letter(number)
    local task, generation = unpack(call('HMGET', base .. 'l:' .. number, 'task', 'generation'))
    if not task then return 0 end
    call('HDEL', base .. 'ln:' .. task, generation)
    read_failure(task)
    call('DEL', base .. 'l:' .. number)
    call('ZREM', base .. 'letters', number)
    call('ZREM', base .. 'letters:failed', number)
    if call('HINCRBY', base .. 'lettered', task, -1) <= 0 then
        call('HDEL', base .. 'lettered', task)
        look_when_old(task)
        let_go_of_chords(task)
    end
    return 1
end

-- For good: nothing will be gone on with.
local function forget_letter(number)
    local task = call('HGET', base .. 'l:' .. number, 'task')
    local deleted = delete_letter(number)
    if deleted == 1 and call('EXISTS', base .. 't:' .. task) == 0 then drop_checkpoint(task) end
    return deleted
end
