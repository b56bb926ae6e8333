-- Measures. units: in which a facility charts; what is stored is in its schema's unit.
ALTER TABLE base_facilities ADD COLUMN units TEXT NOT NULL DEFAULT 'us_customary';
