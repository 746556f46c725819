-- needs: base
-- The rest of a long chain is a hash n:<chain>: its steps by their places from the end, and how they are written. Who
-- needs it is in the sorted set nh:<chain>, by when it was sent; what somebody needs in the set nt:<who>. `chains` has
-- all of them by when they were kept, or were last found to be needed.
local function take_chains()
    local raw = take()
    return raw ~= '' and cjson.decode(raw) or nil
end

local function write_chains(chains, now)
    if not chains then return end
    for _, kept in ipairs(chains.kept) do
        local name, flat = base .. 'n:' .. kept[1], { 'format', kept[2] }
        for place, step in ipairs(kept[3]) do
            flat[#flat + 1], flat[#flat + 2] = string.format('%d', place - 1), step
            if #flat >= 1000 then
                call('HSET', name, unpack(flat))
                flat = {}
            end
        end
        if #flat > 0 then call('HSET', name, unpack(flat)) end
        call('ZADD', base .. 'chains', now, kept[1])
    end
    for _, need in ipairs(chains.needs) do
        call('ZADD', base .. 'nh:' .. need[1], now, need[2])
        call('SADD', base .. 'nt:' .. need[2], need[1])
    end
end
