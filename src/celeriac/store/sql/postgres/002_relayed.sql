-- As in SQLite's. The table holds only what waits, so that writers wait for this as long as for one look at that.
CREATE INDEX message_relayed ON message (lease_until) WHERE status IN (5, 6);
