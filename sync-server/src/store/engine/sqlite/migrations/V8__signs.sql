-- Apostrophes are one, and so are dashes and the digits of all scripts; in an MRN a blank is a hyphen as well. What
-- collides by it is brought along, and listed.
CREATE TEMP TABLE IF NOT EXISTS collided (what TEXT NOT NULL, id BLOB NOT NULL);

UPDATE OR IGNORE base_users SET username_key = fold(username) WHERE username_key <> fold(username);
UPDATE OR IGNORE base_users SET email_key = fold(email) WHERE email_key <> fold(email);
UPDATE OR IGNORE base_platform_admins SET username_key = fold(username) WHERE username_key <> fold(username);
UPDATE OR IGNORE base_facilities SET name_key = fold(name) WHERE name_key <> fold(name);
INSERT INTO collided SELECT * FROM (
    SELECT 'username', id FROM base_users WHERE username_key <> fold(username)
    UNION SELECT 'email', id FROM base_users WHERE email_key <> fold(email)
    UNION SELECT 'username', id FROM base_platform_admins WHERE username_key <> fold(username)
    UNION SELECT 'facility', id FROM base_facilities WHERE name_key <> fold(name))
    EXCEPT SELECT what, id FROM collided;

-- Names that are signed in with, where a lock or a known network is kept.
UPDATE OR IGNORE base_sign_ins SET name = fold(name) WHERE name <> fold(name);
DELETE FROM base_sign_ins WHERE name <> fold(name);

-- Of those with one number, the first admitted keeps it as nobody else's, as in V5.
INSERT INTO collided SELECT 'mrn', id FROM (
    SELECT id, row_number() OVER (PARTITION BY organization_id, mrn_key(mrn) ORDER BY created_at, id) AS place
        FROM base_patients WHERE mrn_key <> '' AND duplicate_of IS NULL) WHERE place > 1;
UPDATE base_patients SET duplicate_of = id
    WHERE duplicate_of IS NULL AND id IN (SELECT id FROM collided WHERE what = 'mrn');
-- Whoever was withdrawn has neither.
UPDATE base_patients SET mrn_key = mrn_key(mrn) WHERE mrn_key <> '' AND mrn_key <> mrn_key(mrn);
UPDATE base_patients SET name_key = fold(name) WHERE name_key <> '' AND name_key <> fold(name);
