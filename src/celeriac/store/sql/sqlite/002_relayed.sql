-- Beside a broker that is no store of ours: status 5 was given to it, and 6 as well, a suspect. Anybody may adopt it
-- from there; what nobody has adopted at lease_until is given to it again.
CREATE INDEX message_relayed ON message (lease_until) WHERE status IN (5, 6);
