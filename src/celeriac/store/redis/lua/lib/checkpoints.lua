-- needs: base
-- How far a task has come is a hash cp:<task id>, with its cursors where it can be gone on with. It goes with the task's
-- record, unless the task still waits, runs, or has a dead letter; and then with that, if the record is gone.
local function take_checkpoint()
    return { task = take(), cursors = take(), done = take(), total = take(), note = take() }
end

-- Without cursors those that are there stay.
local function put_checkpoint(c, token, now)
    local name = base .. 'cp:' .. c.task
    call('HSET', name, 'done', c.done, 'total', c.total, 'note', c.note, 'at', string.format('%.6f', now))
    if c.cursors ~= '' then call('HSET', name, 'cursors', c.cursors, 'token', token) end
end

local function forget_cursors(task)
    call('HDEL', base .. 'cp:' .. task, 'cursors')
end

local function drop_checkpoint(task)
    if call('HEXISTS', base .. 'live', task) == 0 and call('HEXISTS', base .. 'lettered', task) == 0 then
        call('DEL', base .. 'cp:' .. task)
    end
end
