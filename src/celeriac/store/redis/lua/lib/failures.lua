-- needs: base clock
-- Failures of which nobody has heard: a packed list f:<task id> each, and the set `failures` by when they failed. What has a
-- dead letter goes with that; the others are in `failures:loose` too, and go when they are old.
local function note_failure(task, f)
    local now = clock()
    call('SET', base .. 'f:' .. task,
        cmsgpack.pack({ f.generation, f.name, f.queue, f.worker, f.error_type, f.error, text(now) }))
    call('ZADD', base .. 'failures', now, task)
    if f.lettered then
        call('ZREM', base .. 'failures:loose', task)
    else
        call('ZADD', base .. 'failures:loose', now, task)
    end
end

-- Somebody has heard, or it is a failure no more.
local function read_failure(task)
    if call('DEL', base .. 'f:' .. task) == 0 then return 0 end
    call('ZREM', base .. 'failures', task)
    call('ZREM', base .. 'failures:loose', task)
    return 1
end
