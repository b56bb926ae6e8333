-- A resident's fields that nothing is looked up by, as JSON by key (protocol::patient): one more needs no column.
ALTER TABLE base_patients ADD COLUMN fields TEXT NOT NULL DEFAULT '{}';
