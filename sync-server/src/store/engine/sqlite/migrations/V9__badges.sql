-- Who issued a badge; none is known of those from before.
ALTER TABLE base_badges ADD COLUMN issued_by BLOB;

-- What says that there is no number, such as "n/a", is none (protocol::patient): nobody has it with others, which is
-- no collision either.
CREATE TEMP TABLE IF NOT EXISTS collided (what TEXT NOT NULL, id BLOB NOT NULL);
DELETE FROM collided WHERE what = 'mrn' AND id IN (SELECT id FROM base_patients WHERE mrn <> '' AND mrn_key(mrn) = '');
-- Whoever was withdrawn has no name to be found by, and stays as they are.
UPDATE base_patients SET mrn_key = '',
    duplicate_of = CASE WHEN duplicate_of = id AND name_key <> '' THEN NULL ELSE duplicate_of END
    WHERE mrn <> '' AND mrn_key(mrn) = '';
