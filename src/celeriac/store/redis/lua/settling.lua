-- name: settle
-- needs: sending history checkpoints
-- Read whole before anything is written: an argument that is amiss leaves no half of a settlement.
local function take_settlement()
    local item = {
        id = take(), token = take_number(), way = take(), task = take(), generation = take(), worker = take(),
        keys = take(), others = {}, grown = {}, parts = {},
    }
    if item.way == 'retry' then
        item.retry = {
            queue = take(), priority = take(), run_at = take(), expires = take(), limits = take(), envelope = take(),
            body = take(),
        }
    elseif item.way == 'back' then
        item.snooze_until, item.behind = take(), take() == '1'
    end
    local parts = take()
    if parts:find('f', 1, true) then
        item.failure = {
            outcome = take(), started = take(), reason = take(), error_type = take(), error = take(), traceback = take(),
            print = take(), worker = item.worker, noted = take() == '1',
        }
    end
    if parts:find('r', 1, true) then
        item.record_of = take()
        item.record = take_record()
    end
    if parts:find('c', 1, true) then
        for number = 1, take_number() do item.others[number] = { take(), take_record() } end
        for number = 1, take_number() do item.grown[number] = take() end
        item.messages = take_messages()
        for number = 1, take_number() do item.parts[number] = take_part() end
    end
    if parts:find('p', 1, true) then item.checkpoint = take_checkpoint() end
    if parts:find('w', 1, true) then item.cancels = { take(), take() } end
    item.over = parts:find('o', 1, true)
    return item
end

-- In place: the row keeps its id, its task and its key.
local function retry(id, s, new, now)
    local row = row_of(id)
    if new.queue ~= s.queue then
        count_in(s.queue, -1)
        count_in(new.queue, 1)
    end
    row.queue, row.priority, row.run_at, row.expires = new.queue, new.priority, new.run_at, new.expires
    row.envelope, row.body, row.limits = new.envelope, new.body, new.limits
    let_go(s)
    row.generation = string.format('%d', row.generation + 1)
    call('ZREM', base .. 'leases', id)
    put_row(id, row)
    local again = new_state(row, READY)
    again.deliveries, again.snoozes = s.deliveries, s.snoozes
    if new.run_at ~= '' and tonumber(new.run_at) > now then
        again.status = DELAYED
        put_state(id, again)
        make_delayed(id, row.queue, new.run_at)
    else
        make_waiting(id, again)
    end
end

-- Remove, change or hand back the message; false when it is no longer the settler's.
local function leave_queue(item, now)
    local s = held(item.id, item.token)
    if not s then return false end
    if item.way == 'retry' then
        retry(item.id, s, item.retry, now)
    elseif item.way == 'back' then
        local id = item.behind and go_behind(item.id, s) or item.id
        hand_back(id, s, item.snooze_until ~= '' and item.snooze_until or nil)
    else
        if item.way == 'bury' then bury(item.id, item.failure, now) end
        delete_message(item.id, s, s.queue, s.task)
    end
    return true
end

local function settle(item, now)
    if not leave_queue(item, now) then return 0 end
    local f = item.failure
    if f and f.noted then
        note_attempt(item.task, {
            item.generation, f.started, text(now), item.worker, f.outcome, f.error_type, f.error, f.traceback,
        })
    end
    if item.record then write_record(item.record_of, item.record, f) end
    -- By the task id: a task that replaced the one under the key has none itself.
    if item.keys == 'keep' then
        keep_keys(item.task, now)
    elseif item.keys == 'free' then
        free_keys(item.task, now)
    end
    if item.checkpoint then put_checkpoint(item.checkpoint, item.token, now) end
    if item.over then forget_cursors(item.task) end
    if item.cancels then cancel_workflow(item.cancels[1], item.cancels[2], now) end
    for _, other in ipairs(item.others) do write_other(other[1], other[2], now) end
    for _, group in ipairs(item.grown) do grow_chord(group, 1, now) end
    for _, m in ipairs(item.messages or {}) do send(m, now) end
    local complete = {}
    for _, part in ipairs(item.parts) do
        if item.way == 'bury' then hold_chord(item.task, part.group) end
        if add_part(part, now) then complete[#complete + 1] = part.group end
    end
    return complete
end

-- Ends that have no consequences, as nearly all have, together: each kind of change is one command for all of them.
local function is_plain(item)
    local failed = item.failure or (item.record and item.record[STATE] == 'FAILURE')
    local more = item.messages or item.checkpoint or item.over or item.cancels
    return item.way == 'finish' and item.keys == '' and not (failed or more)
end

local function still_held(plain, answers)
    local ids, ours = {}, {}
    for number, item in ipairs(plain) do ids[number] = item.id end
    for number, raw in ipairs(call('HMGET', base .. 'state', unpack(ids))) do
        local item, s = plain[number], raw and unpack_state(raw)
        if is_held(s, item.token) then
            item.queue, item.live = s.queue, s.task
            let_go(s)
            ours[#ours + 1] = item
            answers[item.number] = {}
        else
            answers[item.number] = 0
        end
    end
    return ours
end

local function settle_plain(plain, answers)
    local ids, names, tasks, queues = {}, {}, {}, {}
    local ours = still_held(plain, answers)
    if #ours == 0 then return end
    for number, item in ipairs(ours) do
        ids[number], names[number] = item.id, base .. 'm:' .. item.id
        if item.live ~= '' then tasks[#tasks + 1] = item.live end
        queues[item.queue] = (queues[item.queue] or 0) + 1
    end
    call('ZREM', base .. 'leases', unpack(ids))
    call('HDEL', base .. 'state', unpack(ids))
    call('DEL', unpack(names))
    if #tasks > 0 then call('HDEL', base .. 'live', unpack(tasks)) end
    for queue, count in pairs(queues) do count_in(queue, -count) end
    write_records(ours)
end

local items, now, answers = {}, clock(), {}
for number = 1, take_number() do items[number] = take_settlement() end

go_on()
local plain, seen = {}, {}
local function settle_gathered()
    if #plain > 0 then settle_plain(plain, answers) end
    plain, seen = {}, {}
end

for number, item in ipairs(items) do
    item.number = number
    local alone = not is_plain(item)
    if alone or seen[item.task] or #plain == 500 then settle_gathered() end
    if alone then
        answers[number] = settle(item, now)
    else
        plain[#plain + 1], seen[item.task] = item, true
    end
end
settle_gathered()
if #items > 0 then say('commits') end
return answers
