-- Residents who are one person: whoever was admitted once too often is replaced by the other, and is kept.
ALTER TABLE base_patients ADD COLUMN replaced_by BLOB;
CREATE INDEX patients_replaced ON base_patients (organization_id, facility_id, replaced_by) WHERE replaced_by IS NOT NULL;
