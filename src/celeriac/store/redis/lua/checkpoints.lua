-- name: save
-- needs: rows checkpoints
local id, token, absolve = take(), take_number(), take() == '1'
local c = take_checkpoint()
local s = held(id, token)
if not s then return 0 end
put_checkpoint(c, token, clock())
if absolve then
    s.crashes = 0
    put_state(id, s)
end
return 1

-- name: get
-- needs: base
local found = {}
for number = 1, take_number() do
    found[number] = call('HMGET', base .. 'cp:' .. take(), 'done', 'total', 'note', 'cursors', 'at', 'token')
end
return found
