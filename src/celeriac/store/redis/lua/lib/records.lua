-- needs: rows keys failures checkpoints
-- What the ledger keeps of a task is a packed list of texts under t:<task id>, in this order.
local GENERATION, CLOSED, STATE, NAME, QUEUE, WORKER, RETRIES, STARTED, FINISHED, RESULT, TRACEBACK, META, EXPIRES =
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

-- Beside each record that came, and not kept with it: whether somebody hears of its failure, and the error.
local ends = {}

local function take_record()
    local record = {}
    for field = GENERATION, EXPIRES do record[field] = take() end
    ends[record] = { told = take() == '1', error_type = take(), error = take() }
    return record
end

local function record_of(task)
    local raw = call('GET', base .. 't:' .. task)
    return raw and cmsgpack.unpack(raw) or nil
end

local function put_record(task, record, old)
    say('results')
    call('SET', base .. 't:' .. task, cmsgpack.pack(record))
    if record[EXPIRES] ~= '' then
        call('ZADD', base .. 'expiry:tasks', record[EXPIRES], task)
    elseif old and old[EXPIRES] ~= '' then
        call('ZREM', base .. 'expiry:tasks', task)
    end
end

local function forget_record(task)
    call('DEL', base .. 't:' .. task)
    call('ZREM', base .. 'expiry:tasks', task)
    drop_checkpoint(task)
end

local function is_closed(record)
    return record[CLOSED] == '1'
end

-- Whether a record may take the old one's place, whose facts it then keeps: a closed generation is never touched again.
local function advances(record, old)
    local new, known = tonumber(record[GENERATION]), tonumber(old[GENERATION])
    if new < known or (new == known and is_closed(old)) then return false end
    for _, field in ipairs({ NAME, QUEUE, STARTED }) do
        if record[field] == '' then record[field] = old[field] end
    end
    return true
end

-- A failure is unread from now on, and what became of an earlier one is over.
local function note_end(task, record, why)
    local how = ends[record]
    if record[STATE] ~= 'FAILURE' or how.told then return read_failure(task) end
    why = why or how
    note_failure(task, {
        generation = record[GENERATION], name = record[NAME], queue = record[QUEUE], worker = record[WORKER],
        error_type = why.error_type, error = why.error, lettered = why.outcome == 'dead-lettered',
    })
end

local function write_record(task, record, why)
    local old = record_of(task)
    if old and not advances(record, old) then return end
    put_record(task, record, old)
    if is_closed(record) and (old or record[STATE] == 'FAILURE') then note_end(task, record, why) end
end

-- The records of settlements, of different tasks: those of which nothing was known, in one command.
local function write_records(items)
    local with, names, new, expiring = {}, {}, {}, {}
    for _, item in ipairs(items) do
        if item.record then
            with[#with + 1] = item
            names[#names + 1] = base .. 't:' .. item.record_of
        end
    end
    if #with == 0 then return end
    for number, raw in ipairs(call('MGET', unpack(names))) do
        local task, record = with[number].record_of, with[number].record
        if raw then
            write_record(task, record)
        else
            new[#new + 1], new[#new + 2] = names[number], cmsgpack.pack(record)
            if record[EXPIRES] ~= '' then
                expiring[#expiring + 1], expiring[#expiring + 2] = record[EXPIRES], task
            end
        end
    end
    if #new > 0 then
        call('MSET', unpack(new))
        say('results')
    end
    if #expiring > 0 then call('ZADD', base .. 'expiry:tasks', unpack(expiring)) end
end

-- A record whose author does not know the generation. What has ended stays as it is, except that a failure may be put right.
local function write_loose(task, record)
    local current = tonumber(record[GENERATION])
    local old = record_of(task)
    if old then
        local replaces = is_closed(record) and record[STATE] ~= 'REVOKED' and is_closed(old) and old[STATE] ~= 'SUCCESS'
        current = math.max(current, tonumber(old[GENERATION]) + (replaces and 1 or 0))
    end
    local id = call('HGET', base .. 'live', task)
    if id then current = math.max(current, tonumber(row_of(id).generation)) end
    record[GENERATION] = string.format('%d', current)
    write_record(task, record)
end

-- The end of a task that another one's end brings about.
local function write_other(task, record, now)
    write_loose(task, record)
    if not is_closed(record) then return end
    if record[STATE] == 'SUCCESS' then
        keep_keys(task, now)
    else
        free_keys(task, now)
    end
end

-- The end of a message that no settlement reports.
local function write_end(row, state, why, now, expires, failure)
    local old = record_of(row.task)
    if old and is_closed(old) and tonumber(row.generation) <= tonumber(old[GENERATION]) then return end
    local record = old or { row.generation, '1', state, row.name, 't' .. row.queue, '', '0', '', '', '', '', '', '' }
    record[GENERATION], record[CLOSED], record[STATE] = row.generation, '1', state
    record[FINISHED], record[EXPIRES] = text(now), text(expires)
    record[RESULT], record[TRACEBACK], record[META] = '', '', 't{"why": "' .. why .. '"}'
    put_record(row.task, record)
    if not failure then return read_failure(row.task) end
    note_failure(row.task, {
        generation = row.generation, name = row.name, queue = 't' .. row.queue, worker = '',
        error_type = failure.error_type, error = failure.error, lettered = true,
    })
end
