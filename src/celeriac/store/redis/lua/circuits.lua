-- Circuit breakers: in the hash `circuits` by their names, packed, version and state. What nobody has written has
-- the version 0; the first is a time, so that none comes again after it was forgotten.
-- name: read
-- needs: base
local raw = call('HGET', base .. 'circuits', take())
if not raw then return nil end
local version, state = unpack(cmsgpack.unpack(raw))
return { version, state }

-- name: write
-- needs: base
local name, version, first, state = take(), take_number(), take_number(), take()
local raw = call('HGET', base .. 'circuits', name)
local known = raw and cmsgpack.unpack(raw)[1] or 0
if known ~= version then return 0 end
call('HSET', base .. 'circuits', name, cmsgpack.pack({ version == 0 and first or version + 1, state }))
return 1

-- name: forget
-- needs: base
return call('HDEL', base .. 'circuits', take())

-- name: all
-- needs: base
local found = call('HGETALL', base .. 'circuits')
for place = 2, #found, 2 do found[place] = cmsgpack.unpack(found[place])[2] end
return found
