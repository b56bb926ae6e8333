-- What was to seal the audit log was never written: three columns that are NULL in every row, and a trigger of theirs.
-- Each goes by a walk over the whole log, in place, once: about ten seconds for a million events, with as much room in
-- the WAL as the log has without its indexes. Making the table anew takes three times both, and sorts its indexes in
-- memory.
DROP TRIGGER audit_is_sealed_once;
ALTER TABLE base_audit DROP COLUMN sealed_seq;
ALTER TABLE base_audit DROP COLUMN previous;
ALTER TABLE base_audit DROP COLUMN link;
