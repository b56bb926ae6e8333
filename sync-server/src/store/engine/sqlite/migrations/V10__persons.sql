-- Residents' names are compared by their words (protocol::patient): accents and their order make no difference.
UPDATE base_patients SET name_key = words_key(name) WHERE name_key <> '' AND name_key <> words_key(name);

-- Who was born on a day, and who has a number now.
CREATE INDEX patients_by_birthday ON base_patients (organization_id, facility_id, date_of_birth, created_at, id)
    WHERE date_of_birth IS NOT NULL;
CREATE INDEX patients_numbered ON base_patients (organization_id, facility_id, mrn_key, replaced_by)
    WHERE mrn_key <> '';

-- Those who have the number of somebody admitted before them: 1 until a review asks about it. Nothing sets it again:
-- the column and its index, which is empty from then on, are for that one job.
ALTER TABLE base_patients ADD COLUMN unasked INTEGER;
UPDATE base_patients AS later SET unasked = 1 WHERE mrn_key <> '' AND replaced_by IS NULL AND EXISTS (
    SELECT 1 FROM base_patients AS earlier
        WHERE earlier.organization_id = later.organization_id AND earlier.facility_id = later.facility_id
            AND earlier.mrn_key = later.mrn_key AND earlier.mrn_key <> '' AND earlier.replaced_by IS NULL
            AND (earlier.created_at, earlier.id) < (later.created_at, later.id));
CREATE INDEX patients_unasked ON base_patients (organization_id, facility_id, unasked, id) WHERE unasked IS NOT NULL;
