-- Foreign keys are not enforced while a migration runs, and checked before it is committed.

-- Residents whom a device admitted may have no MRN yet, or one that another resident has: then both
-- stay, and the later points at the earlier until somebody has looked.
CREATE TABLE base_patients_v2 (
    organization_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    facility_id BLOB NOT NULL,
    mrn TEXT NOT NULL,
    name TEXT NOT NULL,
    date_of_birth TEXT,
    room TEXT,
    is_active INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    duplicate_of BLOB,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, facility_id, id),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id),
    FOREIGN KEY (organization_id, duplicate_of) REFERENCES base_patients (organization_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO base_patients_v2 (organization_id, id, facility_id, mrn, name, date_of_birth, room, is_active, created_at)
    SELECT organization_id, id, facility_id, mrn, name, date_of_birth, room, is_active, created_at FROM base_patients;
DROP TABLE base_patients;
ALTER TABLE base_patients_v2 RENAME TO base_patients;
CREATE UNIQUE INDEX patients_by_mrn ON base_patients (organization_id, mrn) WHERE mrn <> '' AND duplicate_of IS NULL;

-- Who wrote a field of an editable document last; none is what was there before anybody edited.
CREATE TABLE base_marks (
    facility_id BLOB NOT NULL,
    collection TEXT NOT NULL,
    record_id BLOB NOT NULL CHECK (length(record_id) = 16),
    field TEXT NOT NULL,
    organization_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    user_id BLOB,
    device_id BLOB,
    incarnation_id BLOB,
    n INTEGER,
    PRIMARY KEY (facility_id, collection, record_id, field),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;

-- What somebody has to look at. The document says the rest.
CREATE TABLE base_reviews (
    facility_id BLOB NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    organization_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    collection TEXT NOT NULL,
    record_id BLOB NOT NULL,
    patient_id BLOB NOT NULL,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (facility_id, id),
    FOREIGN KEY (organization_id, facility_id, patient_id)
        REFERENCES base_patients (organization_id, facility_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX reviews_open ON base_reviews (facility_id, kind, collection, record_id) WHERE is_open = 1;

-- What each collection comes to in each view, kept up to date by every write to the feed.
CREATE TABLE base_digests (
    facility_id BLOB NOT NULL,
    view TEXT NOT NULL,
    collection TEXT NOT NULL,
    organization_id BLOB NOT NULL,
    count INTEGER NOT NULL,
    sum BLOB NOT NULL CHECK (length(sum) = 16),
    PRIMARY KEY (facility_id, view, collection),
    FOREIGN KEY (organization_id, facility_id) REFERENCES base_facilities (organization_id, id)
) STRICT, WITHOUT ROWID;

-- Numbers of a device's lane whose changes nobody holds any more.
CREATE TABLE base_gaps (
    facility_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    incarnation_id BLOB NOT NULL,
    lane TEXT NOT NULL,
    from_n INTEGER NOT NULL,
    to_n INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    -- The link after the gap, as the device says it.
    link BLOB NOT NULL CHECK (length(link) = 32),
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (facility_id, device_id, incarnation_id, lane, from_n),
    FOREIGN KEY (facility_id, device_id, incarnation_id)
        REFERENCES base_incarnations (facility_id, device_id, id)
) STRICT, WITHOUT ROWID;

-- digested: whether base_digests counts every document. horizon: tombstones up to here are gone.
-- raised_at: when the epoch was last raised because devices knew more than the server.
ALTER TABLE base_feeds ADD COLUMN digested INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_feeds ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_feeds ADD COLUMN raised_at INTEGER;

ALTER TABLE base_documents ADD COLUMN written_at INTEGER NOT NULL DEFAULT 0;
-- Tombstones from before are kept as long as new ones.
UPDATE base_documents SET written_at = unixepoch() * 1000 WHERE body IS NULL;
CREATE INDEX documents_gone ON base_documents (facility_id, written_at) WHERE body IS NULL;

ALTER TABLE base_facilities ADD COLUMN phi_mode TEXT NOT NULL DEFAULT 'full';
-- Overrides the facility's.
ALTER TABLE base_devices ADD COLUMN phi_mode TEXT;
-- How often its view of the feed was changed: it is added to the feed's epoch, so that a cursor from
-- before is refused and the mirror made anew.
ALTER TABLE base_devices ADD COLUMN view_changes INTEGER NOT NULL DEFAULT 0;
-- The names of the collections of its mirror that differ, as JSON; how often one was fetched again; for
-- how many seconds nothing has moved.
ALTER TABLE base_devices ADD COLUMN differs TEXT NOT NULL DEFAULT '[]';
ALTER TABLE base_devices ADD COLUMN refetches INTEGER NOT NULL DEFAULT 0;
ALTER TABLE base_devices ADD COLUMN no_progress INTEGER;
-- When it last came without a cursor.
ALTER TABLE base_devices ADD COLUMN mirror_began_at INTEGER;

-- Why it is quarantined; when it last went on under a new incarnation, from an older state of itself.
ALTER TABLE base_devices ADD COLUMN quarantine TEXT;
ALTER TABLE base_devices ADD COLUMN rolled_back_at INTEGER;

-- The last number that a verified backup holds.
ALTER TABLE base_chain_heads ADD COLUMN durable_n INTEGER;

-- A refused change that was settled: how, where in the feed, when, by whom, why. A change that takes
-- the place of another says so in supersedes. target_id: the record that a correction stands beside.
ALTER TABLE base_changes ADD COLUMN settlement TEXT;
ALTER TABLE base_changes ADD COLUMN settled_seq INTEGER;
ALTER TABLE base_changes ADD COLUMN settled_at INTEGER;
ALTER TABLE base_changes ADD COLUMN settled_by BLOB;
ALTER TABLE base_changes ADD COLUMN settled_reason TEXT;
ALTER TABLE base_changes ADD COLUMN target_id BLOB;
CREATE INDEX changes_refused ON base_changes (facility_id, received_at) WHERE verdict = 'rejected' AND settlement IS NULL;
CREATE INDEX changes_flagged ON base_changes (facility_id, received_at) WHERE review IS NOT NULL;
CREATE INDEX changes_by_record ON base_changes (facility_id, record_id) WHERE record_id IS NOT NULL;
CREATE INDEX changes_by_target ON base_changes (facility_id, target_id) WHERE target_id IS NOT NULL;
