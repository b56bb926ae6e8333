-- Facility time. time_zone: the facility's IANA time zone, none until somebody set it; address: as JSON, by which
-- one is proposed.
ALTER TABLE base_facilities ADD COLUMN time_zone TEXT;
ALTER TABLE base_facilities ADD COLUMN address TEXT;

-- What the office strikes out of a chart: no change of a device says so. Only what counts is struck out, so it is the
-- first correction of its record.
CREATE TABLE base_office_corrections (
    organization_id BLOB NOT NULL,
    facility_id BLOB NOT NULL,
    target_id BLOB NOT NULL CHECK (length(target_id) = 16),
    record_id BLOB NOT NULL CHECK (length(record_id) = 16),
    PRIMARY KEY (facility_id, organization_id, target_id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;

-- Why a device cannot save what is charted on it, in its own words.
ALTER TABLE base_devices ADD COLUMN cannot_save TEXT;

-- Residents who are one person: whoever was admitted once too often is replaced by the other, and is kept.
ALTER TABLE base_patients ADD COLUMN replaced_by BLOB;
CREATE INDEX patients_replaced ON base_patients (organization_id, facility_id, replaced_by) WHERE replaced_by IS NOT NULL;

-- Measures. units: in which a facility charts; what is stored is in its schema's unit.
ALTER TABLE base_facilities ADD COLUMN units TEXT NOT NULL DEFAULT 'as_published';

-- A capital ẞ is compared as ß and ss are.
UPDATE OR IGNORE base_users SET username_key = fold(username) WHERE instr(username_key, 'ß');
UPDATE OR IGNORE base_users SET email_key = fold(email) WHERE instr(email_key, 'ß');
UPDATE OR IGNORE base_platform_admins SET username_key = fold(username) WHERE instr(username_key, 'ß');
UPDATE OR IGNORE base_facilities SET name_key = fold(name) WHERE instr(name_key, 'ß');
UPDATE OR IGNORE base_patients SET mrn_key = fold(mrn) WHERE instr(mrn_key, 'ß');
UPDATE OR IGNORE base_patients SET name_key = fold(name) WHERE instr(name_key, 'ß');
