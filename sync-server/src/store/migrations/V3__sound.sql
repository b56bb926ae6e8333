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
CREATE INDEX documents_records ON base_documents (facility_id, seq) WHERE collection = 'records' AND body IS NOT NULL;
