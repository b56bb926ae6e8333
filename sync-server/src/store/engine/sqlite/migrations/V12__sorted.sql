-- What the names of residents and users sort by (protocol::text), as bytes: pages of them are cut in that order.
ALTER TABLE base_patients ADD COLUMN sort_key BLOB NOT NULL DEFAULT x'';
ALTER TABLE base_users ADD COLUMN sort_key BLOB NOT NULL DEFAULT x'';
UPDATE base_patients SET sort_key = sort_key_of(name);
UPDATE base_users SET sort_key = sort_key_of(display_name);
CREATE INDEX patients_sorted ON base_patients (organization_id, sort_key, id);
CREATE INDEX users_sorted ON base_users (organization_id, sort_key, id);
-- Of one facility, too.
CREATE INDEX patients_of_facility ON base_patients (organization_id, facility_id, sort_key, id);
CREATE INDEX users_of_facility ON base_users (organization_id, facility_id, sort_key, id);
DROP INDEX users_by_facility;

-- Of those who have a room, or had it, the ones in care are looked at first: a room has had many.
DROP INDEX patients_by_room;
CREATE INDEX patients_in_room ON base_patients (organization_id, facility_id, room_key, is_active, created_at, id)
    WHERE room_key <> '' AND name_key <> '';
