-- Every table that holds a tenant's rows is named base_*: nothing but a connection's own views and
-- triggers may touch it (engine/security.rs). Keys lead with the tenant, so that a row cannot point
-- at another tenant's and an error tells nothing about one. Ids are 16 bytes, times milliseconds
-- since 1970 in UTC, words as on the wire.

CREATE TABLE base_organizations (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    organization_type TEXT NOT NULL,
    npi TEXT,
    address TEXT,
    contact TEXT,
    recovery_recipient TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE base_platform_admins (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    session_timeout_minutes INTEGER NOT NULL,
    is_active INTEGER NOT NULL,
    last_activity_at INTEGER,
    failed_logins INTEGER NOT NULL,
    last_failed_at INTEGER,
    locked_until INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE base_facilities (
    organization_id BLOB NOT NULL REFERENCES base_organizations (id),
    id BLOB NOT NULL CHECK (length(id) = 16),
    name TEXT NOT NULL,
    facility_type TEXT NOT NULL,
    licensed_beds INTEGER,
    current_census INTEGER NOT NULL,
    phone TEXT,
    badge_key BLOB NOT NULL CHECK (length(badge_key) = 32),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE base_users (
    organization_id BLOB NOT NULL REFERENCES base_organizations (id),
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB,
    username TEXT NOT NULL,
    username_key TEXT NOT NULL,
    email TEXT,
    email_key TEXT,
    display_name TEXT NOT NULL,
    role TEXT NOT NULL,
    employee_id TEXT,
    password_hash TEXT,
    pin_verifier TEXT,
    session_timeout_minutes INTEGER NOT NULL,
    is_active INTEGER NOT NULL,
    last_activity_at INTEGER,
    failed_logins INTEGER NOT NULL,
    last_failed_at INTEGER,
    locked_until INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, username_key),
    UNIQUE (organization_id, email_key),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_facility ON base_users (organization_id, facility_id);

-- When a user held which role where: what a device recorded is judged by what was so then.
CREATE TABLE base_user_terms (
    organization_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB,
    role TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    until_at INTEGER,
    PRIMARY KEY (organization_id, user_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES base_users (organization_id, id)
) STRICT, WITHOUT ROWID;

-- The organization is null for the platform's administrators.
CREATE TABLE base_sessions (
    token_sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(token_sha256) = 32),
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    organization_id BLOB,
    user_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL,
    FOREIGN KEY (organization_id, user_id) REFERENCES base_users (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON base_sessions (organization_id, user_id);
CREATE INDEX sessions_by_end ON base_sessions (expires_at);

CREATE TABLE base_badges (
    organization_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    lookup TEXT NOT NULL CHECK (length(lookup) = 64),
    is_active INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, facility_id, lookup),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES base_users (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX badges_by_user ON base_badges (organization_id, user_id);

-- Every version that was ever published: old records are judged by the version they were made under.
CREATE TABLE base_workflows (
    organization_id BLOB NOT NULL REFERENCES base_organizations (id),
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    label TEXT NOT NULL,
    body TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, key, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE base_patients (
    organization_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB NOT NULL,
    mrn TEXT NOT NULL,
    name TEXT NOT NULL,
    date_of_birth TEXT,
    room TEXT,
    is_active INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, mrn),
    UNIQUE (organization_id, facility_id, id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE base_devices (
    organization_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB NOT NULL,
    name TEXT NOT NULL,
    device_type TEXT NOT NULL,
    state TEXT NOT NULL,
    device_uuid BLOB,
    mac_addresses TEXT NOT NULL,
    token_sha256 BLOB,
    key_sha256 BLOB,
    public_key BLOB,
    agent_version TEXT,
    last_seen INTEGER,
    last_sync INTEGER,
    oldest_waiting INTEGER,
    waiting INTEGER NOT NULL,
    wedged INTEGER NOT NULL,
    cursor_refused INTEGER NOT NULL,
    cursor_epoch INTEGER,
    cursor_seq INTEGER,
    reader TEXT,
    encrypted INTEGER,
    clock_skew_ms INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_by_facility ON base_devices (organization_id, facility_id);
CREATE UNIQUE INDEX devices_by_hardware ON base_devices (organization_id, device_uuid)
    WHERE state NOT IN ('RETIRED', 'REVOKED');
-- A handshake brings a key and no tenant: these two find the tenant.
CREATE UNIQUE INDEX devices_by_key ON base_devices (key_sha256);
CREATE UNIQUE INDEX devices_by_token ON base_devices (token_sha256);

CREATE TABLE base_assignments (
    organization_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    from_at INTEGER NOT NULL,
    until_at INTEGER,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id),
    FOREIGN KEY (organization_id, device_id) REFERENCES base_devices (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_by_device ON base_assignments (organization_id, device_id);

-- The lobby. A waiting device has no tenant until an administrator types its code.
CREATE TABLE base_enrollments (
    key_sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(key_sha256) = 32),
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    public_key BLOB NOT NULL,
    device_uuid BLOB NOT NULL,
    mac_addresses TEXT NOT NULL,
    hostname TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    user_code TEXT NOT NULL UNIQUE,
    expires_at INTEGER NOT NULL,
    organization_id BLOB,
    facility_id BLOB,
    name TEXT,
    device_type TEXT,
    number TEXT,
    tries INTEGER NOT NULL,
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrollments_by_tenant ON base_enrollments (organization_id, id);
CREATE INDEX enrollments_by_uuid ON base_enrollments (device_uuid);
CREATE INDEX enrollments_by_end ON base_enrollments (expires_at);

-- One row for each facility: written in the same transaction as the documents it counts, so that the
-- order of seq is the order in which commits become visible.
CREATE TABLE base_feeds (
    facility_id BLOB NOT NULL PRIMARY KEY,
    organization_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;

-- The latest version of each document, and tombstones, in the order of the feed.
CREATE TABLE base_documents (
    facility_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    collection TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    patient_id BLOB,
    body TEXT,
    PRIMARY KEY (facility_id, seq),
    UNIQUE (facility_id, collection, id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id),
    FOREIGN KEY (organization_id, facility_id, patient_id)
        REFERENCES base_patients (organization_id, facility_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_patient ON base_documents (facility_id, patient_id, collection, seq)
    WHERE patient_id IS NOT NULL;

CREATE TABLE base_incarnations (
    facility_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    organization_id BLOB NOT NULL,
    parent_id BLOB,
    fork_care INTEGER,
    fork_audit INTEGER,
    first_boot BLOB,
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (facility_id, device_id, id),
    FOREIGN KEY (organization_id, device_id) REFERENCES base_devices (organization_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE base_chain_heads (
    facility_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    incarnation_id BLOB NOT NULL,
    lane TEXT NOT NULL,
    organization_id BLOB NOT NULL,
    next_n INTEGER NOT NULL,
    head BLOB NOT NULL CHECK (length(head) = 32),
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    received_at INTEGER NOT NULL,
    PRIMARY KEY (facility_id, device_id, incarnation_id, lane),
    FOREIGN KEY (facility_id, device_id, incarnation_id)
        REFERENCES base_incarnations (facility_id, device_id, id)
) STRICT, WITHOUT ROWID;

-- What devices sent, with the server's verdict. The payload may be purged; its hash keeps the chain.
CREATE TABLE base_changes (
    facility_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    incarnation_id BLOB NOT NULL,
    lane TEXT NOT NULL,
    n INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    assignment_id BLOB,
    payload BLOB,
    payload_sha256 BLOB NOT NULL CHECK (length(payload_sha256) = 32),
    link BLOB NOT NULL CHECK (length(link) = 32),
    verdict TEXT NOT NULL,
    reason TEXT,
    seq INTEGER,
    collection TEXT,
    record_id BLOB,
    patient_id BLOB,
    actor_id BLOB,
    session_id BLOB,
    kind TEXT,
    recorded_at INTEGER,
    clock_quality TEXT,
    received_at INTEGER NOT NULL,
    schema_version INTEGER,
    workflow TEXT,
    base_seq INTEGER,
    supersedes INTEGER,
    review TEXT,
    PRIMARY KEY (facility_id, device_id, incarnation_id, lane, n),
    FOREIGN KEY (facility_id, device_id, incarnation_id)
        REFERENCES base_incarnations (facility_id, device_id, id)
) STRICT;

-- The organization is null only when no tenant could be resolved.
CREATE TABLE base_audit (
    organization_id BLOB,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB,
    timestamp INTEGER NOT NULL,
    clock_quality TEXT NOT NULL,
    event_type TEXT NOT NULL,
    action TEXT NOT NULL,
    success INTEGER NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT,
    device_id BLOB,
    user_id BLOB,
    session_id BLOB,
    patient_id BLOB,
    username TEXT,
    endpoint TEXT,
    ip_address TEXT,
    user_agent TEXT,
    details TEXT,
    received_at INTEGER NOT NULL,
    origin_incarnation BLOB,
    origin_n INTEGER,
    sealed_seq INTEGER,
    previous BLOB,
    link BLOB
) STRICT;
CREATE INDEX audit_by_time ON base_audit (organization_id, timestamp);
CREATE INDEX audit_by_patient ON base_audit (organization_id, patient_id, timestamp) WHERE patient_id IS NOT NULL;
CREATE INDEX audit_by_user ON base_audit (organization_id, user_id, timestamp) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_device ON base_audit (organization_id, device_id, timestamp) WHERE device_id IS NOT NULL;
CREATE INDEX audit_by_session ON base_audit (organization_id, session_id, timestamp) WHERE session_id IS NOT NULL;

CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON base_audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_keeps_columns BEFORE UPDATE OF
    organization_id, id, facility_id, timestamp, clock_quality, event_type, action, success, resource_type,
    resource_id, device_id, user_id, session_id, patient_id, username, endpoint, ip_address, user_agent,
    details, received_at, origin_incarnation, origin_n ON base_audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_sealed_once BEFORE UPDATE OF sealed_seq, previous, link ON base_audit
    WHEN OLD.sealed_seq IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
