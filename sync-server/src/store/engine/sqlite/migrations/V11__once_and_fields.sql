-- What was asked for with a key so that it is done once, and what it was answered, sealed with that key: for a day.
CREATE TABLE base_idempotency_keys (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB REFERENCES base_organizations (id),
    user_id BLOB NOT NULL,
    request_sha256 BLOB NOT NULL CHECK (length(request_sha256) = 32),
    created_at INTEGER NOT NULL,
    answer BLOB
) STRICT;
CREATE INDEX idempotency_keys_by_user ON base_idempotency_keys (user_id, created_at);
CREATE INDEX idempotency_keys_by_age ON base_idempotency_keys (created_at);
-- A resident's fields that have no column of their own, as JSON by key (protocol::patient): one more needs no column.
ALTER TABLE base_patients ADD COLUMN fields TEXT NOT NULL DEFAULT '{}';
-- By which whoever may be the same person is found; a Medicare number nobody had before.
ALTER TABLE base_patients ADD COLUMN room_key TEXT NOT NULL DEFAULT '';
ALTER TABLE base_patients ADD COLUMN medicare_key TEXT NOT NULL DEFAULT '';
UPDATE base_patients SET room_key = fold(room) WHERE room IS NOT NULL;
CREATE INDEX patients_by_room ON base_patients (organization_id, facility_id, room_key, created_at, id)
    WHERE room_key <> '' AND name_key <> '';
CREATE INDEX patients_by_medicare ON base_patients (organization_id, facility_id, medicare_key, created_at, id)
    WHERE medicare_key <> '';
CREATE INDEX patients_with_medicare ON base_patients (organization_id, facility_id, medicare_key, replaced_by)
    WHERE medicare_key <> '';
