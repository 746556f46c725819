-- name: store
-- needs: records
go_on()
write_loose(take(), take_record())
say('commits')
return 1

-- name: records
-- needs: records
local with_live, found, live = take() == '1', {}, {}
for number = 1, take_number() do
    local task = take()
    local record = record_of(task)
    if record then found[#found + 1] = { task, unpack(record) } end
    local id = with_live and call('HGET', base .. 'live', task)
    if id then
        local row, s = row_of(id), state_of(id)
        live[#live + 1] = {
            task, row.generation, row.name, row.queue, s and s.owner or '', s and s.status or READY, s and s.started or '',
            call('ZSCORE', base .. 'revoked', task) and 1 or 0, s and s.snoozes or 0,
            s and s.status == DELAYED and row.run_at or '',
        }
    end
end
return { found, live }

-- name: forget
-- needs: records
local task, result_only = take(), take() == '1'
local record = record_of(task)
if not record or not is_closed(record) then return 0 end
local stays = result_only
-- Whoever publishes under its key is told that it is done, so much must stay.
for _, key in ipairs(call('SMEMBERS', base .. 'h:' .. task)) do
    stays = stays or key_row(key).done == 1
end
if stays then
    record[RESULT], record[TRACEBACK], record[META] = '', '', ''
    put_record(task, record, record)
else
    forget_record(task)
end
read_failure(task)
return 1

-- name: attempts
-- needs: base
local attempts = call('LRANGE', base .. 'a:' .. take(), 0, -1)
for number, raw in ipairs(attempts) do attempts[number] = cmsgpack.unpack(raw) end
return attempts

-- name: revoke
-- needs: rows acts
local expires, by, hastened = clock() + take_number(), take_by(), {}
go_on()
if by.who ~= '' then act(by, 'revoked', '', '') end
for _ = 1, take_number() do
    local task = take()
    call('ZADD', base .. 'revoked', expires, task)
    local id = call('HGET', base .. 'live', task)
    local s = id and state_of(id)
    -- A worker ends it now rather than when it would be due.
    if s and (s.status == DELAYED or s.status == PARKED or s.status == LANED or s.status == HELD) then
        take_out(id, row_of(id), s)
        s.status, s.limits = READY, ''
        put_state(id, s)
        make_ready(id, s.queue, s.priority)
        hastened[#hastened + 1] = task
    end
end
say('results')
say('commits')
return hastened

-- name: save_group
-- needs: joins
save_group(take(), take(), take())
say('commits')
return 1

-- name: get_group
-- needs: base
return call('GET', base .. 'g:' .. take())

-- name: delete_group
-- needs: base
local group = take()
call('DEL', base .. 'g:' .. group)
call('ZREM', base .. 'expiry:groups', group)
return 1
