-- What the office strikes out of a chart: no change of a device says so. Only what counts is struck out, so it is the
-- first correction of its record.
CREATE TABLE base_office_corrections (
    organization_id BLOB NOT NULL,
    facility_id BLOB NOT NULL,
    target_id BLOB NOT NULL,
    record_id BLOB NOT NULL,
    PRIMARY KEY (facility_id, organization_id, target_id)
) STRICT, WITHOUT ROWID;

-- Why a device cannot save what is charted on it, in its own words.
ALTER TABLE base_devices ADD COLUMN cannot_save TEXT;
