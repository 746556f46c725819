-- needs: rows
-- The hash `pauses` has what people have stopped, by kind and name. What is set aside of a paused task is in
-- held:<name>, by id, and in heldin:<queue>; `heldnames` has the tasks' names, packed as in their messages.
local paused
if call('EXISTS', base .. 'pauses') == 1 then
    paused = {}
    for _, field in ipairs(call('HKEYS', base .. 'pauses')) do
        paused[field] = true
        pausing = pausing or field:sub(1, 5) == 'task\n'
    end
end

local function is_paused(kind, name)
    return paused and paused[kind .. '\n' .. name] or false
end

local function hold_aside(id, row, s)
    s.status, s.started, s.owner = HELD, '', ''
    put_state(id, s)
    call('ZADD', base .. 'held:' .. row.name, id, id)
    call('SADD', base .. 'heldin:' .. row.queue, id)
    call('SADD', base .. 'heldnames', row.name)
end

-- Out of wherever it waits, if its task is paused; what is revoked runs into its end.
set_aside = function(id)
    if not pausing then return false end
    local row = row_of(id)
    if row.name == '' or not is_paused('task', row.name:sub(2)) then return false end
    if row.task ~= '' and call('ZSCORE', base .. 'revoked', row.task) then return false end
    local s = state_of(id) or new_state(row, READY)
    take_out(id, row, s)
    let_go(s)
    hold_aside(id, row, s)
    put_off = put_off + 1
    return true
end
