-- Audit events: whose word each is, and the log in the order in which they came. What devices wrote before has
-- its place in their chains.
ALTER TABLE base_audit ADD COLUMN source TEXT NOT NULL DEFAULT 'server';
-- What a reader should know of an event, between commas.
ALTER TABLE base_audit ADD COLUMN flags TEXT;
-- The device's own time, where that was ahead of the server's.
ALTER TABLE base_audit ADD COLUMN claimed_at INTEGER;
UPDATE base_audit SET source = 'device' WHERE origin_incarnation IS NOT NULL;
CREATE TRIGGER audit_keeps_source BEFORE UPDATE OF source, flags, claimed_at ON base_audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
DROP INDEX audit_by_time;
DROP INDEX audit_by_patient;
DROP INDEX audit_by_user;
DROP INDEX audit_by_device;
DROP INDEX audit_by_session;
CREATE INDEX audit_by_receipt ON base_audit (organization_id, received_at);
CREATE INDEX audit_by_patient ON base_audit (organization_id, patient_id, received_at) WHERE patient_id IS NOT NULL;
CREATE INDEX audit_by_user ON base_audit (organization_id, user_id, received_at) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_device ON base_audit (organization_id, device_id, received_at) WHERE device_id IS NOT NULL;
CREATE INDEX audit_by_session ON base_audit (organization_id, session_id, received_at) WHERE session_id IS NOT NULL;
