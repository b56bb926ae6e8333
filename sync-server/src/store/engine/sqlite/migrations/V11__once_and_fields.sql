-- What was asked for with a key so that it is done once, and what it was answered, sealed with that key: for a day.
CREATE TABLE base_idempotency_keys (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB REFERENCES base_organizations (id),
    user_id BLOB NOT NULL,
    request_sha256 BLOB NOT NULL CHECK (length(request_sha256) = 32),
    created_at INTEGER NOT NULL,
    answer BLOB
) STRICT;
CREATE INDEX idempotency_keys_by_user ON base_idempotency_keys (user_id, created_at);
CREATE INDEX idempotency_keys_by_age ON base_idempotency_keys (created_at);
-- A resident's fields that nothing is looked up by, as JSON by key (protocol::patient): one more needs no column.
ALTER TABLE base_patients ADD COLUMN fields TEXT NOT NULL DEFAULT '{}';
