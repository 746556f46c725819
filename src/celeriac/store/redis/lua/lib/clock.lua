-- The clock of leases and of what is due: the server's, whatever the hosts think. Seconds since the epoch.
local function clock()
    local now = redis.call('TIME')
    return now[1] + now[2] / 1000000
end
