//! The outbox's tables.

use carepost_protocol::change::Lane;

/// The numbered migrations.
///
/// `entries` is the chain of both lanes: what was made, exactly as it is sent, with its link and the
/// device's signature over it. `queued` and `rejected` are found without looking at what is settled.
/// `form` is the token of the form an entry was saved from: the same form is never saved twice.
///
/// Since the second: `follows` leads to the incarnation before, whose entries end with `after_care` and
/// `after_audit`; `settlement` is how a rejection was settled, such an entry counts as acknowledged;
/// `links` keeps the link before an entry that is kept, where the one before it is not; `lanes` keeps
/// what the server said of a lane; `moved` leads from the id of a record that was made anew to its
/// present one.
///
/// Since the third: `collection` is what a care change is about, where that is not a record.
///
/// Since the fourth: `pin` of a user's wrong PINs tells which PIN they were guesses of.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE incarnations (
        id BLOB PRIMARY KEY CHECK (length(id) = 16),
        device BLOB NOT NULL,
        organization BLOB NOT NULL,
        facility BLOB NOT NULL,
        assignment BLOB NOT NULL,
        parent BLOB REFERENCES incarnations (id),
        fork_care INTEGER,
        fork_audit INTEGER,
        began_at INTEGER NOT NULL,
        is_current INTEGER NOT NULL,
        CHECK ((parent IS NULL) = (fork_care IS NULL) AND (parent IS NULL) = (fork_audit IS NULL))
    ) STRICT;
    CREATE UNIQUE INDEX one_current_incarnation ON incarnations (is_current) WHERE is_current;
    CREATE TABLE entries (
        lane INTEGER NOT NULL,
        n INTEGER NOT NULL CHECK (n > 0),
        payload BLOB NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        link BLOB NOT NULL CHECK (length(link) = 32),
        signature BLOB NOT NULL CHECK (length(signature) = 64),
        state INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
        made_at INTEGER NOT NULL,
        settled_at INTEGER,
        seq INTEGER,
        reason TEXT,
        patient BLOB,
        record BLOB,
        form TEXT,
        PRIMARY KEY (lane, n)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entries_queued ON entries (lane, n) WHERE state = 0;
    CREATE INDEX entries_wedged ON entries (lane, n) WHERE state = 2;
    CREATE INDEX entries_by_patient ON entries (patient) WHERE patient IS NOT NULL;
    CREATE UNIQUE INDEX entries_by_form ON entries (form) WHERE form IS NOT NULL;
    CREATE TABLE drafts (
        user BLOB NOT NULL,
        patient BLOB NOT NULL,
        workflow TEXT NOT NULL,
        body BLOB NOT NULL,
        kept_at INTEGER NOT NULL,
        PRIMARY KEY (user, patient, workflow)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE throttles (
        user BLOB PRIMARY KEY,
        failures INTEGER NOT NULL,
        locked_until INTEGER
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE incarnations ADD COLUMN follows BLOB;
    ALTER TABLE incarnations ADD COLUMN after_care INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incarnations ADD COLUMN after_audit INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE entries ADD COLUMN settlement TEXT;
    CREATE TABLE links (
        lane INTEGER NOT NULL,
        n INTEGER NOT NULL CHECK (n > 0),
        link BLOB NOT NULL CHECK (length(link) = 32),
        PRIMARY KEY (lane, n)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE lanes (
        lane INTEGER PRIMARY KEY,
        durable INTEGER,
        expects INTEGER
    ) STRICT;
    INSERT INTO lanes (lane) VALUES (0), (1);
    CREATE TABLE moved (
        old BLOB PRIMARY KEY CHECK (length(old) = 16),
        new BLOB NOT NULL CHECK (length(new) = 16)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE entries ADD COLUMN collection TEXT;
    CREATE INDEX entries_edits ON entries (collection, n) WHERE collection IS NOT NULL;
",
    "ALTER TABLE throttles ADD COLUMN pin BLOB;",
];

/// A lane's number in the file.
pub(super) const fn number(lane: Lane) -> i64 {
    match lane {
        Lane::Care => 0,
        Lane::Audit => 1,
    }
}

/// Waits for the server.
pub(super) const QUEUED: i64 = 0;
/// The server has it, or somebody settled that it was rejected.
pub(super) const ACKED: i64 = 1;
/// The server rejected it: it needs a person.
pub(super) const REJECTED: i64 = 2;

/// Another change took the place of a rejected one.
pub(super) const SUPERSEDED: &str = "superseded";
/// An administrator discarded a rejected one.
pub(super) const DISCARDED: &str = "discarded";
