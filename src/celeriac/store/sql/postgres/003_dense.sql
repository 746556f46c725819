-- A claim changes `status`, and with it an index: no change of a row that an attempt makes can stay on its page, and room kept for
-- it is only room. Waits for a vacuum of this table, and holds up no writer.
ALTER TABLE message SET (fillfactor = 100);
