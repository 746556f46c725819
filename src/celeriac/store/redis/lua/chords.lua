-- name: size
-- needs: joins
local group, size, now = take(), take(), clock()
size_chord(group, size, now)
say('commits')
return complete_chord(group, now, false) and 1 or 0

-- name: grow
-- needs: joins
grow_chord(take(), take(), clock())
say('commits')
return 1

-- name: part
-- needs: joins
go_on()
say('commits')
return add_part(take_part(), clock()) and 1 or 0

-- name: known
-- needs: base
return call('HEXISTS', base .. 'c:' .. take(), 'size')

-- name: parts
-- needs: base
local group = take()
local state, body = unpack(call('HMGET', base .. 'c:' .. group, 'state', 'body'))
if state ~= 'open' then return {} end
local members, found = call('HGETALL', base .. 'p:' .. group), {}
for place = 1, #members, 2 do
    local f = cmsgpack.unpack(members[place + 1])
    found[#found + 1] = { members[place], f[1], f[2], f[3] }
end
return { body or '', found }

-- name: close
-- needs: sending
local group, state, now = take(), take(), clock()
local name = base .. 'c:' .. group
local known, completed, failed = unpack(call('HMGET', name, 'state', 'completed', 'failed'))
if known ~= 'open' or not completed then return 0 end
-- Who found a failure may have looked before it was put right; who has put it right sends the body.
if state == 'failed' and tonumber(failed or 0) == 0 then return 0 end
local others = {}
for number = 1, take_number() do others[number] = { take(), take_record() } end
local messages, parts, complete = take_messages(), {}, {}
for number = 1, take_number() do parts[number] = take_part() end
local number, holder_id = in_conflict(messages, now)
if number then return { 'conflict', number, holder_id } end
call('ZREM', base .. 'chords:waiting', group)
call('HSET', name, 'state', state, 'updated', now)
call('ZADD', base .. 'chords:over', now, group)
for _, other in ipairs(others) do write_other(other[1], other[2], now) end
for _, m in ipairs(messages) do send(m, now) end
for _, part in ipairs(parts) do
    if add_part(part, now) then complete[#complete + 1] = part.group end
end
say('commits')
return complete

-- name: hold_with
-- needs: history
local tasks = call('SMEMBERS', base .. 'cl:' .. take())
for _ = 1, take_number() do
    local other = take()
    for _, task in ipairs(tasks) do hold_chord(task, other) end
end
return 1

-- name: waiting
-- needs: base clock
return call('ZRANGEBYSCORE', base .. 'chords:waiting', '-inf', '(' .. text(clock() - take_number()), 'LIMIT', 0, 100)
