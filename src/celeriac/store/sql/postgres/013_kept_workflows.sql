-- When messages of it were last seen to come from an outbox late, or to wait there still: until then it was not lost.
ALTER TABLE workflow ADD COLUMN kept_at double precision;
