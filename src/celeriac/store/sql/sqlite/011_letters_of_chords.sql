-- The dead letters of a chord's members: counted for a workflow of many, and asked for before a chord is forgotten.
CREATE INDEX letter_chord_group ON letter_chord (group_id);
