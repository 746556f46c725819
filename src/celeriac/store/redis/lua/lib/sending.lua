-- needs: rows keys records joins workflows chains
-- Messages on their way in.
local function take_message()
    -- Not by take(): thousands come at once, and eighteen calls are a tenth of what one of them costs.
    local at, a = place, ARGV
    place = at + 18
    local ways, chains, joins = a[at + 11], a[at + 14], a[at + 18]
    return {
        queue = a[at + 1], priority = a[at + 2], run_at = a[at + 3], expires = a[at + 4], task = a[at + 5],
        name = a[at + 6], generation = a[at + 7], key = a[at + 8], digest = a[at + 9], ttl = a[at + 10],
        awaited = ways ~= '' and ways:find('a', 1, true), follow_up = ways ~= '' and ways:find('f', 1, true),
        grows = a[at + 12], limits = a[at + 13], envelope = a[at + 15], body = a[at + 16],
        opens = a[at + 17],
        chains = chains ~= '' and cjson.decode(chains) or nil,
        joins = joins ~= '' and take_joins(tonumber(joins)) or nil,
    }
end

local function take_messages()
    local messages = {}
    for number = 1, take_number() do messages[number] = take_message() end
    return messages
end

-- One higher than what has settled under the id.
local function generation_after(record)
    return tonumber(record[GENERATION]) + (is_closed(record) and 1 or 0)
end

local function next_generation(task)
    local record = task ~= '' and record_of(task)
    return record and generation_after(record) or 0
end

-- Put one message into its queue; false when its task is there already.
local function insert(m, parked, now)
    -- Others may need it who are sent; what is kept for nothing is pruned.
    write_chains(m.chains, now)
    local id = call('INCR', base .. 'ids')
    if m.task ~= '' and call('HSETNX', base .. 'live', m.task, id) == 0 then return false end
    if m.generation == '' then m.generation = string.format('%d', next_generation(m.task)) end
    m.sent = text(now)
    put_row(id, m)
    count_in(m.queue, 1)
    if parked then
        put_state(id, new_state(m, PARKED))
        park_under(id, m.queue, m.key)
    elseif m.run_at ~= '' and tonumber(m.run_at) > now then
        put_state(id, new_state(m, DELAYED))
        make_delayed(id, m.queue, m.run_at)
    elseif m.limits ~= '' then
        put_state(id, new_state(m, LANED))
        enter_lane(id, m.queue, m.priority, m.limits)
    else
        make_ready(id, m.queue, m.priority)
    end
    if m.grows ~= '' then grow_chord(m.grows, 1, now) end
    join_chords(m.joins, now)
    return true
end

-- Messages without keys that are ready, as nearly all are, together: each kind of change is one command for all of them.
local function is_plain_message(m, now)
    return m.key == '' and m.grows == '' and m.limits == '' and not m.chains and not m.joins and (m.run_at == '' or tonumber(m.run_at) <= now)
end

-- Those of the messages whose task is not live, neither before nor with one of these.
local function not_live(messages, answers)
    local tasks, new, taken = {}, {}, {}
    for number, m in ipairs(messages) do tasks[number] = m.task end
    for number, id in ipairs(call('HMGET', base .. 'live', unpack(tasks))) do
        local m = messages[number]
        if m.task ~= '' and (id or taken[m.task]) then
            answers[m.number] = 'live'
        else
            taken[m.task], new[#new + 1], answers[m.number] = true, m, 'sent'
        end
    end
    return new
end

-- Of an id that was made for its message nothing can have settled, and its sender numbers it himself.
local function number_generations(messages)
    local names, unnumbered = {}, {}
    for _, m in ipairs(messages) do
        if m.generation == '' then
            unnumbered[#unnumbered + 1], names[#names + 1] = m, base .. 't:' .. m.task
        end
    end
    if #names == 0 then return end
    for number, raw in ipairs(call('MGET', unpack(names))) do
        local m = unnumbered[number]
        m.generation = raw and m.task ~= '' and string.format('%d', generation_after(cmsgpack.unpack(raw))) or '0'
    end
end

local function insert_plain(messages, now, answers)
    local new = not_live(messages, answers)
    if #new == 0 then return end
    number_generations(new)
    local id, sent = call('INCRBY', base .. 'ids', #new) - #new, text(now)
    local rows, live, queues, prefix = {}, {}, {}, base .. 'm:'
    for number, m in ipairs(new) do
        id, m.sent = id + 1, sent
        local shown = string.format('%d', id)
        rows[2 * number - 1], rows[2 * number] = prefix .. shown, pack_row(m)
        if m.task ~= '' then live[#live + 1], live[#live + 2] = m.task, shown end
        local queue = queues[m.queue]
        if not queue then
            queue = {}
            queues[m.queue] = queue
        end
        queue[#queue + 1], queue[#queue + 2] = rank(m.priority, id), shown
    end
    call('MSET', unpack(rows))
    if #live > 0 then call('HSET', base .. 'live', unpack(live)) end
    for queue, ranked in pairs(queues) do
        tell_of_work(queue)
        call('ZADD', base .. 'ready:' .. queue, unpack(ranked))
        count_in(queue, #ranked / 2)
    end
end

-- Whether it is the holder itself that is sent, and not what it has done already.
local function goes_on(k, m)
    return k.task == m.task and (m.follow_up or k.done == 0)
end

-- Returns what became of it: sent, live, or the id of the task that has its key.
local function send(m, now)
    if m.key == '' then return insert(m, false, now) and 'sent' or 'live' end
    local k = holder(m.key, now)
    if not k or goes_on(k, m) then
        if insert(m, false, now) then take_key(m.key, m.task, m.digest, m.ttl) end
        return 'sent'
    end
    if k.digest ~= m.digest then
        -- A follow-up's (any other was found in conflict before): it runs into admission, which ends it as a dead letter.
        insert(m, false, now)
        return 'sent'
    end
    if not m.awaited then return 'h' .. k.task end
    -- Somebody waits for this id: it settles with the holder's result later.
    insert(m, k.done == 0, now)
    return 'sent'
end

-- In their order; returns what became of each.
local function send_all(messages, now)
    local answers, plain = {}, {}
    for number, m in ipairs(messages) do
        m.number = number
        if m.opens ~= '' then record_workflow(m.opens, now) end
        local alone = not is_plain_message(m, now)
        if #plain > 0 and (alone or #plain == 500) then
            insert_plain(plain, now, answers)
            plain = {}
        end
        if alone then
            answers[number] = send(m, now)
        else
            plain[#plain + 1] = m
        end
    end
    if #plain > 0 then insert_plain(plain, now, answers) end
    return answers
end

-- Nothing is undone here, so what cannot be sent must be found before anything is written. Returns the place of the
-- message whose key is held with other arguments, and who holds it.
local function in_conflict(messages, now)
    local any = false
    for _, m in ipairs(messages) do any = any or m.key ~= '' end
    if not any then return nil end
    local taken, live = {}, {}
    for number, m in ipairs(messages) do
        if m.key ~= '' then
            local k = taken[m.key] or holder(m.key, now)
            if not k or goes_on(k, m) then
                local in_vain = m.expires ~= '' and tonumber(m.expires) <= now
                if not (in_vain or live[m.task] or call('HEXISTS', base .. 'live', m.task) == 1) then
                    taken[m.key] = { task = m.task, digest = m.digest, done = 0 }
                end
            elseif k.digest ~= m.digest and not m.follow_up then
                return number, k.task
            end
        end
        live[m.task] = true
    end
    return nil
end
