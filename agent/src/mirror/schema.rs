//! The mirror's tables and the statements that write them.

use carepost_protocol::id::RecordId;
use carepost_protocol::record::{Collection, ReviewDocument, ReviewKind};

/// The numbered migrations.
///
/// 1. `documents` has one row for each document of any collection, keyed so that a page of the feed is
///    written in few places. The columns beside `body` are what rows are found by: `patient` and
///    `recorded_at` of records, `patient` of reviews, `lookup` of badges; they are NULL elsewhere, and
///    the indexes leave those rows out. `pass` is the pass that last named the row.
/// 2. `element` is the row's part in its collection's digest. `collections` says of each collection how
///    its copy stands: a *pass* names every document once; by `brought` all up to the cursor were named,
///    at the next head what it did not name goes, and then `swept` is the pass as well. `count` and `sum`
///    are the digest of the rows that the pass has named, so that it begins at nothing and needs no
///    reading when the pass ends. `news` waits to be written into the audit log.
///
///    A file from before has no elements, so its collections begin a pass: they stay readable, and are
///    fetched again with the next stream.
/// 3. `proof` is the server's proof of the cursor, where it gave one.
/// 4. `stepped_over` has a row for each document whose latest version this agent could not take: its part
///    in the digest counts as if it were here. The row of an older version stays in `documents`, readable,
///    with no part. Of a collection that this agent does not know there is one row. `revoked` has whom
///    and what the server revoked ahead of the feed, until the feed says so too, or otherwise; `heard_epoch`
///    and `heard_seq` say up to which place it said all of it. `agent` is the version that wrote last.
/// 5. `documents_records` finds the records that have left the server's feed; they came before
///    `archived_before`, which is NULL while none has.
/// 6. `documents_by_patient` says of each row its place in the feed as well, so that what has left the feed is
///    found by it, once a day, and a first copy does not keep a second index for that. `archived_through` is
///    the last place that left: up to there all is dropped.
/// 7. `amends` is what a record corrects. Under it `documents_by_patient` keeps a resident's records apart: those
///    that begin an entry have none, newest last, and each correction is with what it corrects. So a page costs
///    what it shows, and a first copy still keeps one index. `is_held` is 1 where what is corrected was not here
///    when the correction came, or has gone since. Earlier agents left it where that came again, so whoever reads
///    looks. `lookup` finds open reviews, too: it is [`OPEN`].
/// 8. `phi_mode` is how much of a resident the server sends, where that is not all.
/// 9. `lookup` finds closed reviews of corrections by what those correct ([`lookup_of`]).
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE documents (
        collection INTEGER NOT NULL,
        id BLOB NOT NULL CHECK (length(id) = 16),
        seq INTEGER NOT NULL,
        pass INTEGER NOT NULL,
        patient BLOB,
        recorded_at INTEGER,
        lookup TEXT,
        body BLOB NOT NULL,
        PRIMARY KEY (collection, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX documents_by_patient ON documents (patient, recorded_at) WHERE patient IS NOT NULL;
    CREATE INDEX documents_by_lookup ON documents (lookup) WHERE lookup IS NOT NULL;
    CREATE TABLE collections (collection INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        organization BLOB NOT NULL,
        facility BLOB NOT NULL,
        epoch INTEGER,
        seq INTEGER,
        pass INTEGER NOT NULL,
        swept INTEGER NOT NULL DEFAULT 0
    ) STRICT;
",
    "
    ALTER TABLE documents ADD COLUMN element BLOB CHECK (length(element) = 16);
    ALTER TABLE collections RENAME TO reached;
    CREATE TABLE collections (
        collection INTEGER PRIMARY KEY,
        pass INTEGER NOT NULL,
        brought INTEGER NOT NULL,
        swept INTEGER NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        sum BLOB NOT NULL DEFAULT x'00000000000000000000000000000000' CHECK (length(sum) = 16),
        differs_since INTEGER,
        refetches INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO collections (collection, pass, brought, swept)
        SELECT collection, pass + 1, iif(epoch IS NULL, pass + 1, 0), pass FROM reached, state;
    DROP TABLE reached;
    ALTER TABLE state DROP COLUMN pass;
    ALTER TABLE state DROP COLUMN swept;
    CREATE TABLE news (
        collection INTEGER NOT NULL,
        mended INTEGER NOT NULL,
        at INTEGER NOT NULL,
        found INTEGER NOT NULL,
        held INTEGER NOT NULL,
        expected INTEGER NOT NULL,
        PRIMARY KEY (collection, mended)
    ) STRICT, WITHOUT ROWID;
",
    "ALTER TABLE state ADD COLUMN proof TEXT;",
    "
    CREATE TABLE stepped_over (
        collection TEXT NOT NULL,
        id BLOB NOT NULL CHECK (length(id) = 16),
        seq INTEGER NOT NULL,
        pass INTEGER NOT NULL,
        element BLOB CHECK (length(element) = 16),
        reason TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        told INTEGER NOT NULL,
        PRIMARY KEY (collection, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revoked (
        collection INTEGER NOT NULL,
        id BLOB NOT NULL CHECK (length(id) = 16),
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (collection, id)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE state ADD COLUMN heard_epoch INTEGER;
    ALTER TABLE state ADD COLUMN heard_seq INTEGER;
    ALTER TABLE state ADD COLUMN agent TEXT;
",
    "
    CREATE INDEX documents_records ON documents (seq) WHERE collection = 6;
    ALTER TABLE state ADD COLUMN archived_before INTEGER;
",
    "
    DROP INDEX documents_records;
    DROP INDEX documents_by_patient;
    CREATE INDEX documents_by_patient ON documents (patient, recorded_at, collection, id, seq)
        WHERE patient IS NOT NULL;
    ALTER TABLE state ADD COLUMN archived_through INTEGER;
",
    "
    ALTER TABLE documents ADD COLUMN amends BLOB;
    ALTER TABLE documents ADD COLUMN is_held INTEGER;
    UPDATE documents SET amends = unhex(replace(json_extract(CAST(body AS TEXT), '$.amends'), '-', ''))
        WHERE collection = 6 AND json_valid(CAST(body AS TEXT))
            AND json_extract(CAST(body AS TEXT), '$.amends') IS NOT NULL;
    UPDATE documents SET amends = NULL WHERE amends = id;
    UPDATE documents SET is_held = NOT EXISTS (SELECT 1 FROM documents AS before
            WHERE before.collection = 6 AND before.id = documents.amends AND before.patient = documents.patient)
        WHERE collection = 6 AND amends IS NOT NULL;
    UPDATE documents SET lookup = 'open'
        WHERE collection = 7 AND json_valid(CAST(body AS TEXT))
            AND json_extract(CAST(body AS TEXT), '$.resolved') IS NULL;
    DROP INDEX documents_by_patient;
    CREATE INDEX documents_by_patient ON documents (patient, amends, recorded_at, id, collection, seq)
        WHERE patient IS NOT NULL;
    CREATE INDEX documents_held ON documents (patient, recorded_at, id, amends) WHERE is_held = 1;
    CREATE TRIGGER documents_left AFTER DELETE ON documents WHEN old.collection = 6 BEGIN
        UPDATE documents SET is_held = 1 WHERE patient = old.patient AND amends = old.id;
    END;
",
    "ALTER TABLE state ADD COLUMN phi_mode TEXT;",
    "
    UPDATE documents SET lookup = 'corrected ' || json_extract(CAST(body AS TEXT), '$.record')
        WHERE collection = 7 AND lookup IS NULL AND json_valid(CAST(body AS TEXT))
            AND json_extract(CAST(body AS TEXT), '$.kind') = 'amendments';
",
];

/// What an open review is found by.
pub(super) const OPEN: &str = "open";

/// What a review is found by.
pub(super) fn lookup_of(review: &ReviewDocument) -> Option<String> {
    match (&review.resolved, review.kind) {
        (None, _) => Some(OPEN.to_owned()),
        (Some(_), ReviewKind::Amendments) => Some(corrections_of(review.record)),
        (Some(_), ReviewKind::Conflict | ReviewKind::Duplicate | ReviewKind::Unknown) => None,
    }
}

/// What a closed review of the corrections of a record is found by.
pub(super) fn corrections_of(record: RecordId) -> String {
    format!("corrected {record}")
}

/// A collection that this file does not know yet. After the first page it has to be fetched, because an
/// agent that did not know it left its documents out.
pub(super) const REGISTER: &str = "
    INSERT INTO collections (collection, pass, brought, swept)
    SELECT ?1, first.pass, iif(state.epoch IS NULL, first.pass, 0), 0 FROM state,
        (SELECT coalesce(max(pass), 0) + 1 AS pass FROM documents WHERE collection = ?1) AS first";

/// A document that is new here; nothing when it is not.
pub(super) const PUT_NEW: &str = "
    INSERT INTO documents (collection, id, seq, pass, patient, recorded_at, lookup, body, element, amends, is_held)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, iif(?10 IS NULL, NULL, NOT EXISTS (
        SELECT 1 FROM documents WHERE collection = ?1 AND id = ?10 AND patient = ?5)))
    ON CONFLICT (collection, id) DO NOTHING";

/// The version of a document that is here: when it was named, and its part in the digest.
pub(super) const HELD: &str = "SELECT pass, element FROM documents WHERE collection = ? AND id = ?";

/// The latest version of a document that is here, with the parameters of [`PUT_NEW`].
pub(super) const PUT_OVER: &str = "
    UPDATE documents SET seq = ?3, pass = ?4, patient = ?5, recorded_at = ?6, lookup = ?7, body = ?8, element = ?9,
        amends = ?10, is_held = iif(?10 IS NULL, NULL, NOT EXISTS (
            SELECT 1 FROM documents WHERE collection = ?1 AND id = ?10 AND patient = ?5))
    WHERE collection = ?1 AND id = ?2";

/// Whether any correction is held.
pub(super) const IS_ANY_HELD: &str =
    "SELECT EXISTS (SELECT 1 FROM documents INDEXED BY documents_held WHERE is_held = 1)";

/// What corrects a record that is here now.
pub(super) const LET_GO: &str = "UPDATE documents INDEXED BY documents_by_patient SET is_held = 0
    WHERE patient = ? AND amends = ? AND is_held = 1";

/// The latest version cannot be taken: the one that is here stays, and has no part in the digest.
pub(super) const OUTDATE: &str =
    "UPDATE documents SET pass = ?, element = NULL WHERE collection = ? AND id = ?";

/// A tombstone: the row goes, and the cursor keeps it from coming back.
pub(super) const REMOVE: &str =
    "DELETE FROM documents WHERE collection = ? AND id = ? RETURNING pass, element";

/// What a pass did not name goes when it ends.
pub(super) const SWEEP: &str = "DELETE FROM documents WHERE collection = ? AND pass <> ?";

/// Records that have left the server's feed: no tombstone names them. The version before one that was stepped
/// over stays for as long as that one is in the feed. Without being told SQLite would read all documents.
pub(super) const DROP_ARCHIVED: &str = "
    DELETE FROM documents WHERE (collection, id) IN (
        SELECT collection, id FROM documents INDEXED BY documents_by_patient
        WHERE patient IS NOT NULL AND collection = ?1 AND seq <= ?2)
        AND (element IS NOT NULL OR NOT EXISTS (
            SELECT 1 FROM stepped_over WHERE collection = 'records' AND id = documents.id))
    RETURNING pass, element";

/// A collection's number in the file. Numbers are never used again for another collection.
pub(super) const fn number(collection: Collection) -> i64 {
    match collection {
        Collection::Facilities => 1,
        Collection::Users => 2,
        Collection::Badges => 3,
        Collection::Workflows => 4,
        Collection::Patients => 5,
        Collection::Records => 6,
        Collection::Reviews => 7,
    }
}
