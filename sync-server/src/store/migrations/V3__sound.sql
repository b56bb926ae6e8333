-- Stolen devices. badge_layers: the keys that were laid over the facility's first badge key, 32 bytes each.
-- deactivation: why a device was. pin_exposed_at: since when a thief may know the PIN; none once another was
-- chosen. pin_answers: the exposure that the present PIN, chosen on a device, answered. pin_set_at: when.
ALTER TABLE base_facilities ADD COLUMN badge_layers BLOB NOT NULL DEFAULT x'';
ALTER TABLE base_devices ADD COLUMN deactivation TEXT;
ALTER TABLE base_users ADD COLUMN pin_exposed_at INTEGER;
ALTER TABLE base_users ADD COLUMN pin_answers INTEGER;
ALTER TABLE base_users ADD COLUMN pin_set_at INTEGER;
