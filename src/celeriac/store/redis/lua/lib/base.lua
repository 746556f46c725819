-- Every key begins with KEYS[1], which holds a hash tag: all are in one slot.
local base, call = KEYS[1], redis.call

-- Arguments are read one after the other. What is missing is an empty one.
local place = 0
local function take()
    place = place + 1
    return ARGV[place]
end

local function take_number()
    return tonumber(take())
end

local function text(number)
    return string.format('%.6f', number)
end

-- Who waits reads streams: `commits` tells of all that is committed, `work` of what an idle worker can take, `results`
-- of ends of tasks, `broadcast` of broadcasts.
-- One entry is kept: the last id is all that is asked for.
local said = {}
local function say(stream)
    if not said[stream] then
        said[stream] = true
        call('XADD', base .. stream, 'MAXLEN', 1, '*', '', '')
    end
end

-- A full memory refuses a script whose first write needs some. What frees memory in the end, or keeps workers at work,
-- begins with one that needs none.
local function go_on()
    call('DEL', base .. 'nothing')
end
