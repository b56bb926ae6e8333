-- Facility time. time_zone: the facility's IANA time zone, none until somebody set it; address: as JSON, by which
-- one is proposed.
ALTER TABLE base_facilities ADD COLUMN time_zone TEXT;
ALTER TABLE base_facilities ADD COLUMN address TEXT;
