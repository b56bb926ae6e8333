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
-- What these two were for, the ones above do.
DROP INDEX changes_by_record;
DROP INDEX changes_by_target;
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
