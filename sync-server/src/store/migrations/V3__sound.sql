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
