-- Indexes that no other one can stand in for. Where the server believes a table to be empty, whatever serves seems equally cheap,
-- and the primary key, which has every message in order, was taken for the few of one lane: `id + 0` is an order that it has not.
DROP INDEX message_suspect, message_lane, message_held, message_lane_task;
CREATE INDEX message_suspect ON message (queue, (id + 0)) WHERE status = 4;
CREATE INDEX message_lane ON message (queue, priority, limits, (id + 0)) WHERE status = 7;
CREATE INDEX message_held ON message (name, (id + 0)) WHERE status = 8;
-- Not for those who ask for a lane, and so do not name a name.
CREATE INDEX message_lane_task ON message (name) WHERE status = 7 AND name IS NOT NULL;
