-- name: step
-- needs: base
return call('HMGET', base .. 'n:' .. take(), 'format', take())

-- name: rest
-- needs: base
local name, at = base .. 'n:' .. take(), take_number()
local found = { call('HGET', name, 'format') }
if not found[1] then return {} end
for first = 0, at, 1000 do
    local places = {}
    for place = first, math.min(first + 999, at) do places[#places + 1] = string.format('%d', place) end
    for _, step in ipairs(call('HMGET', name, unpack(places))) do
        if not step then return {} end
        found[#found + 1] = step
    end
end
return found

-- name: needed_by
-- needs: base
local found = {}
for _, chain in ipairs(call('SMEMBERS', base .. 'nt:' .. take())) do
    local size = call('HLEN', base .. 'n:' .. chain)
    if size > 0 then found[#found + 1] = { chain, size - 2 } end
end
return found
