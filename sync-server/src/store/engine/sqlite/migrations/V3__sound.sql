-- Locks count by name and network, and a name's count of all: that of no network. From where somebody signed
-- in is kept beside it. The place is an organization's id, the platform, or one that there is not.
CREATE TABLE base_sign_ins (
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    network TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    organization_id BLOB REFERENCES base_organizations (id),
    failures INTEGER NOT NULL,
    -- The last failure; of the count of all, the first.
    failed_at INTEGER NOT NULL,
    locked_until INTEGER,
    good_at INTEGER,
    PRIMARY KEY (place, name, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_by_tenant ON base_sign_ins (organization_id, name);
CREATE INDEX sign_ins_by_failure ON base_sign_ins (failed_at) WHERE good_at IS NULL;
ALTER TABLE base_users DROP COLUMN failed_logins;
ALTER TABLE base_users DROP COLUMN last_failed_at;
ALTER TABLE base_users DROP COLUMN locked_until;
ALTER TABLE base_platform_admins DROP COLUMN failed_logins;
ALTER TABLE base_platform_admins DROP COLUMN last_failed_at;
ALTER TABLE base_platform_admins DROP COLUMN locked_until;
-- Enrollment tokens run out; those from before, three days after this.
ALTER TABLE base_devices ADD COLUMN token_expires_at INTEGER;
UPDATE base_devices SET token_expires_at = (unixepoch() + 259200) * 1000 WHERE token_sha256 IS NOT NULL;
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
-- Encryption: whether a facility demands it of its devices; what a device measured of its own, as JSON:
-- none where it does not say.
ALTER TABLE base_facilities ADD COLUMN require_encryption INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_devices ADD COLUMN encryption TEXT;
-- Bounded documents and work: every look-up that a device's change makes costs the same however many rows
-- others added, and long work goes on from where its last commit left it.
CREATE INDEX patients_by_name ON base_patients (organization_id, facility_id, name COLLATE NOCASE, created_at, id, date_of_birth);
CREATE INDEX patients_of_mrn ON base_patients (organization_id, facility_id, mrn, created_at, id) WHERE mrn <> '';
CREATE INDEX changes_in_feed ON base_changes (facility_id, record_id, seq, received_at) WHERE collection = 'patients';
CREATE INDEX changes_unmade ON base_changes (facility_id, device_id, record_id)
    WHERE verdict = 'rejected' AND kind IN ('create', 'amend');
CREATE INDEX changes_waiting ON base_changes (facility_id, device_id, n)
    WHERE lane = 'care' AND verdict = 'rejected' AND settlement IS NULL;
CREATE INDEX changes_correcting ON base_changes (facility_id, target_id, coalesce(settled_seq, seq))
    WHERE target_id IS NOT NULL AND (verdict <> 'rejected' OR settlement = 'applied');
-- Which view is being counted, by its bit, and up to which place of the feed.
ALTER TABLE base_feeds ADD COLUMN counting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_feeds ADD COLUMN counted_to INTEGER NOT NULL DEFAULT 0;
-- The last number that the signature covers, while a batch is taken in portions; none is the head's own.
ALTER TABLE base_chain_heads ADD COLUMN signed_n INTEGER;
-- Staff and badges in the order of the feed: what was revoked since a place of it.
CREATE INDEX documents_of_users ON base_documents (facility_id, organization_id, collection, seq)
    WHERE collection = 'users';
CREATE INDEX documents_of_badges ON base_documents (facility_id, organization_id, collection, seq)
    WHERE collection = 'badges';
-- What the device could not take of the feed, as JSON.
ALTER TABLE base_devices ADD COLUMN stepped_over TEXT NOT NULL DEFAULT '[]';
-- A mirror has a window: the records that have left the feed, with their threads (a record and all that
-- corrects it). made_at is when a record was made, or when it came, if that was earlier.
CREATE TABLE base_archive (
    facility_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    organization_id BLOB NOT NULL,
    patient_id BLOB NOT NULL,
    thread_id BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (facility_id, id),
    FOREIGN KEY (organization_id, facility_id, patient_id)
        REFERENCES base_patients (organization_id, facility_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_by_patient ON base_archive (facility_id, patient_id, made_at, id, thread_id);
CREATE INDEX archive_by_thread ON base_archive (facility_id, thread_id, made_at, id);
-- Records up to archived have left the feed; they came before archived_before; archived_seq is the place
-- that this took in the feed.
ALTER TABLE base_feeds ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_feeds ADD COLUMN archived_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_feeds ADD COLUMN archived_seq INTEGER NOT NULL DEFAULT 0;
-- Overrides the server's.
ALTER TABLE base_facilities ADD COLUMN record_days INTEGER;
-- Records from before it was written down when they came.
UPDATE base_documents SET written_at = coalesce(
        (SELECT min(received_at) FROM base_changes AS c
            WHERE c.facility_id = base_documents.facility_id AND c.record_id = base_documents.id),
        unixepoch() * 1000)
    WHERE written_at = 0 AND collection = 'records';
-- Stolen devices. badge_layers: the keys that were laid over the facility's first badge key, 32 bytes each.
-- deactivation: why a device was. pin_exposed_at: since when a thief may know the PIN; none once another was
-- chosen. pin_answers: the exposure that the present PIN, chosen on a device, answered. pin_set_at: when.
ALTER TABLE base_facilities ADD COLUMN badge_layers BLOB NOT NULL DEFAULT x'';
ALTER TABLE base_devices ADD COLUMN deactivation TEXT;
ALTER TABLE base_users ADD COLUMN pin_exposed_at INTEGER;
ALTER TABLE base_users ADD COLUMN pin_answers INTEGER;
ALTER TABLE base_users ADD COLUMN pin_set_at INTEGER;
-- What this was for, changes_in_feed and changes_unmade do.
DROP INDEX changes_by_record;
