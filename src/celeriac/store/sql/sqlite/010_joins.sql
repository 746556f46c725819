-- How many members of a chord have ended: counted as they do, since each would otherwise count all before it.
ALTER TABLE chord ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
UPDATE chord SET parts = (SELECT count(*) FROM chord_part WHERE chord_part.group_id = chord.group_id);
-- Triggers, for processes of the version before.
CREATE TRIGGER chord_part_added AFTER INSERT ON chord_part BEGIN
    UPDATE chord SET parts = parts + 1 WHERE group_id = new.group_id;
END;
CREATE TRIGGER chord_part_gone AFTER DELETE ON chord_part BEGIN
    UPDATE chord SET parts = parts - 1 WHERE group_id = old.group_id;
END;
