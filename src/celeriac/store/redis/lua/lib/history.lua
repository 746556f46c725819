-- needs: rows
-- Attempts that did not simply succeed: a list a:<task id>, the oldest first, and the set `history` of tasks by the end
-- of their oldest. Dead letters: a hash l:<number> each. A task's history is kept as long as it has one of these.
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

local function bury(id, why, now)
    local row = row_of(id)
    local number = call('INCR', base .. 'letters:last')
    call('HSET', base .. 'l:' .. number, 'task', row.task, 'generation', row.generation, 'name', row.name,
        'queue', row.queue, 'priority', row.priority, 'reason', why.reason, 'error_type', why.error_type,
        'error', why.error, 'traceback', why.traceback, 'worker', why.worker, 'failed', text(now),
        'envelope', row.envelope, 'body', row.body)
    call('ZADD', base .. 'letters', number, number)
    call('ZADD', base .. 'letters:failed', now, number)
    call('HINCRBY', base .. 'lettered', row.task, 1)
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
    local task = call('HGET', base .. 'l:' .. number, 'task')
    if not task then return 0 end
    call('DEL', base .. 'l:' .. number)
    call('ZREM', base .. 'letters', number)
    call('ZREM', base .. 'letters:failed', number)
    if call('HINCRBY', base .. 'lettered', task, -1) <= 0 then
        call('HDEL', base .. 'lettered', task)
        look_when_old(task)
    end
    return 1
end
