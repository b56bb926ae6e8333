-- What was withdrawn of a lost device corrects nothing any more; of what corrects a record, whose it is stands in the
-- index.
DROP INDEX changes_correcting;
CREATE INDEX changes_correcting ON base_changes (facility_id, target_id, coalesce(settled_seq, seq), device_id)
    WHERE target_id IS NOT NULL AND ((verdict <> 'rejected' AND settlement IS NULL) OR settlement = 'applied');
-- The log by whose word it is: in the order in which it is listed, or the planner would rather walk all of it.
CREATE INDEX audit_by_source ON base_audit (organization_id, source, received_at, id);
