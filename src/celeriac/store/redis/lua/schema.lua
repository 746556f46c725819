-- name: open
-- needs: base
-- The version of what is there, made where nothing is; and the ledger's name.
local version, uuid = take(), take()
local known = call('HGET', base .. 'facts', 'version')
if not known then
    call('HSET', base .. 'facts', 'version', version, 'uuid', uuid)
    known = version
end
return { known, call('HGET', base .. 'facts', 'uuid') }
