-- name: broadcast
-- needs: base clock
-- One stream an exchange; ids are counted over all of them.
local exchange, routing_key, envelope, body = take(), take(), take(), take()
go_on()
local id = call('INCR', base .. 'broadcasts')
call('XADD', base .. 'b:' .. exchange, id .. '-0', 'k', routing_key, 'e', envelope, 'b', body, 't', text(clock()))
call('SADD', base .. 'exchanges', exchange)
say('broadcast')
say('commits')
return 1

-- name: last
-- needs: base
return call('GET', base .. 'broadcasts') or 0

-- name: listen
-- needs: base
local after, most, found = take(), take_number(), {}
for _ = 1, take_number() do
    local exchange = take()
    for _, entry in ipairs(call('XRANGE', base .. 'b:' .. exchange, '(' .. after .. '-0', '+', 'COUNT', most)) do
        local f = entry[2]
        found[#found + 1] = { tonumber(entry[1]:match('^%d+')), exchange, f[2], f[4], f[6] }
    end
end
table.sort(found, function(one, other) return one[1] < other[1] end)
while #found > most do found[#found] = nil end
return found

-- name: bind
-- needs: base clock
local exchange = take()
go_on()
call('HSET', base .. 'bound:' .. exchange, cmsgpack.pack({ take(), take(), take() }), text(clock()))
call('SADD', base .. 'bound', exchange)
return 1

-- name: unbind
-- needs: base
local queue = take()
for _, exchange in ipairs(call('SMEMBERS', base .. 'bound')) do
    local name = base .. 'bound:' .. exchange
    for _, binding in ipairs(call('HKEYS', name)) do
        if cmsgpack.unpack(binding)[3] == queue then call('HDEL', name, binding) end
    end
    if call('EXISTS', name) == 0 then call('SREM', base .. 'bound', exchange) end
end
return 1

-- name: bindings
-- needs: base
local found = {}
for number, binding in ipairs(call('HKEYS', base .. 'bound:' .. take())) do found[number] = cmsgpack.unpack(binding) end
return found
