//! The mirror's tables and the statements that write them.

use carepost_protocol::record::Collection;

/// The numbered migrations.
///
/// `documents` has one row for each document of any collection, keyed so that a page of the feed is
/// written in few places. The columns beside `body` are what rows are found by: `patient` and
/// `recorded_at` of records, `lookup` of badges; they are NULL elsewhere, and the indexes leave those
/// rows out. `pass` is the pull that last named the row. `collections` has those that have reached the
/// head of the feed at least once.
pub(super) const MIGRATIONS: &[&str] = &["
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
"];

/// A document's latest version.
pub(super) const PUT: &str = "
    INSERT INTO documents (collection, id, seq, pass, patient, recorded_at, lookup, body)
    VALUES (:collection, :id, :seq, :pass, :patient, :recorded_at, :lookup, :body)
    ON CONFLICT (collection, id) DO UPDATE SET
        seq = excluded.seq, pass = excluded.pass, patient = excluded.patient,
        recorded_at = excluded.recorded_at, lookup = excluded.lookup, body = excluded.body";

/// A tombstone: the row goes, and the cursor keeps it from coming back.
pub(super) const REMOVE: &str = "DELETE FROM documents WHERE collection = ? AND id = ?";

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
