-- From which networks somebody signed in of late, whoever it was.
CREATE INDEX sign_ins_by_good ON base_sign_ins (network, good_at) WHERE good_at IS NOT NULL;

-- From which network a device came into the lobby; none is known of those from before.
ALTER TABLE base_enrollments ADD COLUMN network TEXT NOT NULL DEFAULT '';
CREATE INDEX enrollments_by_network ON base_enrollments (network, expires_at) WHERE organization_id IS NULL;
-- What was withdrawn of a lost device corrects nothing any more; of what corrects a record, whose it is stands in the
-- index.
DROP INDEX changes_correcting;
CREATE INDEX changes_correcting ON base_changes (facility_id, target_id, coalesce(settled_seq, seq), device_id)
    WHERE target_id IS NOT NULL AND ((verdict <> 'rejected' AND settlement IS NULL) OR settlement = 'applied');
-- The log by whose word it is: in the order in which it is listed, or the planner would rather walk all of it.
CREATE INDEX audit_by_source ON base_audit (organization_id, source, received_at, id);
-- What was withdrawn of a lost device is in the office's chart, and on no page of a device.
ALTER TABLE base_archive ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX archive_shown ON base_archive (facility_id, patient_id, made_at, id, thread_id) WHERE withdrawn = 0;
DROP INDEX changes_flagged;
CREATE INDEX changes_flagged ON base_changes (facility_id, received_at)
    WHERE review IS NOT NULL AND ((verdict <> 'rejected' AND settlement IS NULL) OR settlement = 'applied');
