-- As in SQLite's schema, where each table and column is explained.
ALTER TABLE chord ADD COLUMN parts integer NOT NULL DEFAULT 0;
LOCK TABLE chord_part IN SHARE ROW EXCLUSIVE MODE;
UPDATE chord SET parts = (SELECT count(*) FROM chord_part WHERE chord_part.group_id = chord.group_id);
CREATE FUNCTION count_chord_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE chord SET parts = parts + 1 WHERE group_id = new.group_id;
    ELSE
        UPDATE chord SET parts = parts - 1 WHERE group_id = old.group_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chord_part_counted AFTER INSERT OR DELETE ON chord_part FOR EACH ROW EXECUTE FUNCTION count_chord_part();
