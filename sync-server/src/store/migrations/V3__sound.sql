-- Encryption: whether a facility demands it of its devices; what a device measured of its own, as JSON:
-- none where it does not say.
ALTER TABLE base_facilities ADD COLUMN require_encryption INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_devices ADD COLUMN encryption TEXT;
