//! Store errors: what the store answers when it cannot do what was asked.

use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::record::{Collection, MAX_DOCUMENT_BYTES};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::Expects;

use super::engine::{EngineError, EngineErrorKind};
use super::version::Version;

/// Why not, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing within the scope: the same for a foreign and a missing id.
    #[error("there is no such {0} in your scope; check the id")]
    NotFound(&'static str),
    /// Something with that value is there already.
    #[error("{0} is taken already; {what}", what = instead(.0))]
    Conflict(&'static str),
    /// It was done already, by the same request.
    #[error("this request was done already; ask again for its answer")]
    Done,
    /// The user has as many requests with keys within a day as anybody may.
    #[error(
        "you sent 10,000 requests with an Idempotency-Key within 24 hours, the most of one person; send this one without \
         a key, or when the first of those are a day old"
    )]
    TooManyKeys,
    /// It is not as whoever changes it saw it: somebody changed it since.
    #[error("it was changed meanwhile; look at what it is now, and change that")]
    Changed(Version),
    /// A form was changed in another version than the latest.
    #[error(
        "version {latest} is the latest: change that one, or leave `version` out to put this in its place"
    )]
    Outdated { latest: u32 },
    /// The MRN is that of a patient of the scope.
    #[error("mrn is of patient {0}; give another number")]
    Admitted(PatientId),
    /// The card is the badge of a user of the scope.
    #[error("the card is the badge of user {0}; revoke that badge first, or take another card")]
    Issued(UserId),
    /// The form does not let that role correct what somebody else charted.
    #[error(
        "your role may not correct another person's entry on this form; ask its author, or somebody whose role the form's `corrected_by` names"
    )]
    NotTheirs,
    /// A value breaks a rule that only the store can check.
    #[error("{field}: {detail}")]
    Invalid {
        field: &'static str,
        /// What is wrong and what to do.
        detail: String,
    },
    /// It would make a document that is larger than any may be.
    #[error(
        "this would make a document of {bytes} bytes in {}, and one may have {MAX_DOCUMENT_BYTES}; shorten it",
        .collection.name()
    )]
    TooLarge { collection: Collection, bytes: usize },
    /// The pairing code is unknown or has run out, or the number was wrong.
    #[error("that is not what the device shows; read it off the device again")]
    WrongCode,
    /// The device's key is refused: it was deactivated.
    #[error("an administrator deactivated this device; it has to be enrolled anew with a new key")]
    DeviceRevoked,
    /// Too many wrong tries.
    #[error("too many wrong tries; wait until {until}")]
    TooManyTries {
        /// When the next try is taken.
        until: Timestamp,
    },
    /// The device went on from an older state of itself too often. What it sends is not taken for a while, and
    /// stays on it.
    #[error(
        "this device went on from an older state of itself {today} times within a day, {all} times in all: replace \
         its card or disk, and enroll it anew. What it has not sent stays on it, and is tried again"
    )]
    TooManyIncarnations {
        /// How many incarnations of its outbox the server knows.
        all: u64,
        /// How many of them began within a day.
        today: u64,
    },
    /// The batch does not continue the device's chain.
    #[error("the batch does not continue the chain; send again from {next_n}, or fork after what is shared")]
    ChainBroken {
        next_n: u64,
        /// Where the server has another history: the last number that is the same, as far as the batch
        /// shows; 0 when not even the link before it is. None where the server is only behind.
        shared_n: Option<u64>,
    },
    /// The head of the batch is not signed by the device's key.
    #[error("the batch is not signed by the device's key; nothing of it was taken")]
    BadSignature,
    /// The cursor is of another epoch, or beyond the head.
    #[error("the cursor is not served any more; pull from the beginning")]
    CursorRefused {
        /// What the server expects next of the device's chains, where it has less than the device said.
        expects: Option<Expects>,
    },
    /// The device's view of the feed has more documents than a device may hold.
    #[error(
        "this device would have to hold {documents} documents, and may hold {most}; shorten the window \
         (record_days), raise max_documents under [sync] in server.toml, or give the device a narrower view"
    )]
    OverBudget { documents: u64, most: u64 },
    /// The disk, or the size allowed for the database, is full. Nothing acknowledged is lost.
    #[error("the database's disk is full; free some space, then send the request again")]
    Full,
    /// The group of writes this one was in could not be made durable. Nothing of it was acknowledged.
    #[error("the database could not make the write durable ({0}); send the request again")]
    NotDurable(String),
    /// The key does not open the file.
    #[error("the key does not open {0}: give the key it was made with, or restore it from backup")]
    WrongKey(String),
    /// The database was written by a newer build.
    #[error(
        "the database has schema version {found}, this build knows {known}; install the newer build again"
    )]
    Newer { found: u32, known: u32 },
    /// The database was written by an older build, and this command does not bring it up.
    #[error(
        "the database has schema version {found}, this build knows {known}; start this build's server once, \
         which brings it up, or use the older build's command"
    )]
    Older { found: u32, known: u32 },
    /// A migration that this build carries is not the one the database was made with.
    #[error("migration {0} is not the one this database was made with; install an unmodified build")]
    ChangedMigration(u32),
    /// The store is shutting down.
    #[error("the store is closed; send the request again when the server is back")]
    Closed,
    /// A piece of work broke off; it was rolled back alone.
    #[error("the store broke off a piece of work, and rolled it back; give the operator the request id")]
    Broken,
    /// No randomness was to be had.
    #[error("the operating system gave no random bytes; the operator has to look at the host")]
    NoRandomness,
    /// What is stored cannot be read as what it should be.
    #[error("the database holds something unreadable in {0}; the operator has to look at it")]
    Unreadable(&'static str),
    /// The engine refused or failed.
    #[error("the database failed: {0}")]
    Engine(EngineError),
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match &error.kind {
            EngineErrorKind::Full => Self::Full,
            EngineErrorKind::Unique(column) => taken(column).map_or(Self::Engine(error), Self::Conflict),
            EngineErrorKind::Constraint | EngineErrorKind::Unreadable | EngineErrorKind::Other => {
                Self::Engine(error)
            }
        }
    }
}

/// What to do about a value that is taken.
fn instead(field: &str) -> &'static str {
    match field {
        "device_name" => "deactivate the device that has it, if this one takes its place, or choose another",
        "device_uuid" => {
            "deactivate the device that has it, if this one takes its place; administrators of the whole organization see \
             which that is"
        }
        // Whoever may give these sees whose they are.
        "slug" | "name" | "label" => "choose another",
        _ => "choose another; administrators of the whole organization see whose it is",
    }
}

impl StoreError {
    /// Whether the database refused a row, as another stands against it or one is missing.
    pub(super) fn is_constraint(&self) -> bool {
        match self.engine_kind() {
            Some(EngineErrorKind::Unique(_) | EngineErrorKind::Constraint) => true,
            Some(EngineErrorKind::Full | EngineErrorKind::Unreadable | EngineErrorKind::Other) => false,
            None => matches!(self, Self::Conflict(_)),
        }
    }

    /// Whether another write would fail as well just now, whatever it is about.
    pub(super) const fn is_of_every_write(&self) -> bool {
        matches!(self, Self::Full | Self::NotDurable(_) | Self::Closed)
    }

    /// Whether the disk failed under a connection, or what is on it is not a database any more.
    pub(super) fn is_unreadable(&self) -> bool {
        self.engine_kind() == Some(&EngineErrorKind::Unreadable)
    }

    fn engine_kind(&self) -> Option<&EngineErrorKind> {
        if let Self::Engine(error) = self { Some(&error.kind) } else { None }
    }
}

/// Which field's value is taken, when a unique column says so.
fn taken(column: &str) -> Option<&'static str> {
    let fields = [
        ("slug", "slug"),
        ("name_key", "name"),
        ("username_key", "username"),
        ("email_key", "email"),
        ("mrn_key", "mrn"),
        ("lookup", "badge"),
        ("device_uuid", "device_uuid"),
        ("key_sha256", "key"),
    ];
    fields.into_iter().find(|(of, _)| *of == column).map(|(_, field)| field)
}
