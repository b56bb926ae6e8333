-- Names and numbers are compared by one folded form (protocol::text): case, width and blanks make no difference.
-- What collides by it is brought along, and listed.
CREATE TEMP TABLE collided (what TEXT NOT NULL, id BLOB NOT NULL);

UPDATE OR IGNORE base_users SET username_key = fold(username) WHERE username_key <> fold(username);
INSERT INTO collided SELECT 'username', id FROM base_users WHERE username_key <> fold(username);
UPDATE OR IGNORE base_users SET email_key = fold(email) WHERE email_key <> fold(email);
INSERT INTO collided SELECT 'email', id FROM base_users WHERE email_key <> fold(email);
UPDATE OR IGNORE base_platform_admins SET username_key = fold(username) WHERE username_key <> fold(username);
INSERT INTO collided SELECT 'username', id FROM base_platform_admins WHERE username_key <> fold(username);

ALTER TABLE base_facilities ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
UPDATE base_facilities SET name_key = fold(name);
INSERT INTO collided SELECT 'facility', id FROM (
    SELECT id, row_number() OVER (PARTITION BY organization_id, name_key ORDER BY created_at, id) AS place
        FROM base_facilities) WHERE place > 1;
UPDATE base_facilities SET name_key = name_key || ' ' || hex(id) WHERE id IN (SELECT id FROM collided WHERE what = 'facility');
CREATE UNIQUE INDEX facilities_by_name ON base_facilities (organization_id, name_key);

ALTER TABLE base_patients ADD COLUMN mrn_key TEXT NOT NULL DEFAULT '';
ALTER TABLE base_patients ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
UPDATE base_patients SET mrn_key = fold(mrn), name_key = fold(name);
-- Of those with one number, the first admitted keeps it as nobody else's; the others are linked to themselves,
-- as somebody is whose number is taken in another facility.
INSERT INTO collided SELECT 'mrn', id FROM (
    SELECT id, row_number() OVER (PARTITION BY organization_id, mrn_key ORDER BY created_at, id) AS place
        FROM base_patients WHERE mrn_key <> '' AND duplicate_of IS NULL) WHERE place > 1;
UPDATE base_patients SET duplicate_of = id WHERE id IN (SELECT id FROM collided WHERE what = 'mrn');
DROP INDEX patients_by_mrn;
DROP INDEX patients_of_mrn;
DROP INDEX patients_by_name;
CREATE UNIQUE INDEX patients_by_mrn ON base_patients (organization_id, mrn_key) WHERE mrn_key <> '' AND duplicate_of IS NULL;
CREATE INDEX patients_of_mrn ON base_patients (organization_id, facility_id, mrn_key, created_at, id) WHERE mrn_key <> '';
CREATE INDEX patients_by_name ON base_patients (organization_id, facility_id, name_key, created_at, id, date_of_birth);
