//! Refusals and field errors: why something is not done, as a problem document (RFC 9457) says it, whatever it is
//! answered with.

use carepost_protocol::record::Collection;
use carepost_protocol::role::{Denied, Role};
use carepost_protocol::text::{TextError, line, name, person_name};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::workflow::FieldError;
use carepost_protocol::zone::Zone;
use serde_json::Value;

use crate::clock;
use crate::password::PasswordError;
use crate::store::{StoreError, Version};

/// Seconds after which a device comes again that began too many incarnations.
const PATIENCE: u64 = 15 * 60;
/// The most fields that a refusal names: what has more wrong with it is no slip.
pub const MOST_ERRORS: usize = 100;

/// Why a request was not done.
#[derive(Debug, Clone)]
pub struct Refusal {
    problem: Box<Problem>,
    retry_after: Option<u64>,
    version: Option<Version>,
}

/// What an operation comes to.
pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// A refusal of a kind, with what went wrong this time and what to do about it.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let mut problem = Box::new(kind.because(detail));
        problem.problem_type = kind.uri();
        Self { problem, retry_after: None, version: None }
    }

    /// There is no such thing, or it is another tenant's: both read alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            ProblemKind::NotFound,
            "There is no such thing in your scope: check the id, and for which organization you ask.",
        )
    }

    /// Fields that break a rule, the first of them where there are very many.
    #[must_use]
    pub fn invalid(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MOST_ERRORS);
        let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let mut refusal =
            Self::new(ProblemKind::Invalid, format!("Correct these fields: {}.", named.join(", ")));
        refusal.problem.errors = errors;
        refusal
    }

    /// One field that breaks a rule.
    #[must_use]
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
    }

    /// A role that does not allow it, and who may.
    #[must_use]
    pub fn role(role: Role) -> Self {
        let ask = match role {
            Role::PlatformAdmin => "it is for an organization's own people: sign in as its administrator",
            Role::OrgAdmin => "ask an administrator of the platform",
            Role::FacilityAdmin
            | Role::Rn
            | Role::Lpn
            | Role::MedicalAssistant
            | Role::Caregiver
            | Role::Family
            | Role::Auditor => "ask an administrator of your organization",
        };
        Self::new(ProblemKind::Forbidden, format!("Your role does not allow this; {ask}."))
    }

    /// The server broke: the fault goes to its log, not to the asker.
    #[must_use]
    pub fn internal(fault: &dyn std::fmt::Display) -> Self {
        tracing::error!(%fault, "a request failed");
        Self::new(ProblemKind::Internal, "The server could not finish this request.")
    }

    /// Whoever asks has tried too often: says why, and until when to wait.
    #[must_use]
    pub fn too_many_tries(why: &str, until: Timestamp) -> Self {
        let wait = until.since(clock::now()).as_secs().max(1);
        // The minute that is over by then.
        let until = Zone::UTC.shown(until.plus_millis(59_999));
        Self::new(ProblemKind::TooManyTries, format!("{why}; wait until {until}.")).retry_after(wait)
    }

    /// The same refusal, with when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same refusal, with the number that a chain continues at, and with the last that is shared where
    /// the server has another history.
    #[must_use]
    pub fn expecting(mut self, next_n: u64, shared_n: Option<u64>) -> Self {
        self.problem.next_n = Some(next_n);
        self.problem.shared_n = shared_n;
        self
    }

    /// The same refusal, with what the thing is now, and which version that is.
    #[must_use]
    pub fn showing(mut self, current: Option<Value>, version: Version) -> Self {
        self.problem.current = current;
        self.version = Some(version);
        self
    }

    /// The database's disk is full.
    #[must_use]
    pub fn full() -> Self {
        let words =
            "The server cannot store anything: its disk is full. Have its administrator free some space.";
        Self::new(ProblemKind::Unavailable, words).retry_after(5)
    }

    /// The same refusal, naming a field.
    #[must_use]
    pub fn naming(mut self, error: FieldError) -> Self {
        self.problem.errors.push(error);
        self
    }

    /// The problem document, but for the request's id.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// In how many seconds to come back, where that is known.
    #[must_use]
    pub const fn comes_back_in(&self) -> Option<u64> {
        self.retry_after
    }

    /// Which version the thing has now, where it was changed meanwhile.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether the fault is the server's, and not the asker's.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        self.problem.status >= 500
    }

    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        self.problem.kind()
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OutOfScope => Self::not_found(),
            Denied::Role => Self::new(
                ProblemKind::Forbidden,
                "Your role does not allow this; ask an administrator of your organization.",
            ),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(fault: StoreError) -> Self {
        let said = fault.to_string();
        match fault {
            // Not what the store says of it: a foreign and a missing id must read alike.
            StoreError::NotFound(_) => Self::not_found(),
            // The field and no more: whose the value is may be out of the asker's sight.
            StoreError::Conflict(field) => Self::new(ProblemKind::Conflict, said)
                .naming(FieldError { field: field.to_owned(), detail: "is taken".to_owned() }),
            StoreError::Done => Self::new(ProblemKind::IdempotencyKeyInUse, said).retry_after(1),
            StoreError::TooManyKeys => Self::new(ProblemKind::OverQuota, said).retry_after(3_600),
            StoreError::Changed(version) => Self::new(
                ProblemKind::Changed,
                "Somebody changed it since you looked; look at what it is now, and change that.",
            )
            .showing(None, version),
            StoreError::Outdated { .. } => {
                Self::new(ProblemKind::Conflict, said).naming(FieldError::new("version", "is not the latest"))
            }
            StoreError::Admitted(_) => StoreError::Conflict("mrn").into(),
            StoreError::Issued(_) => StoreError::Conflict("badge").into(),
            StoreError::NotTheirs => Self::new(ProblemKind::Forbidden, said),
            StoreError::Invalid { field, detail } => Self::field(field, detail),
            StoreError::WrongCode => Self::new(ProblemKind::Invalid, said),
            StoreError::TooManyTries { until } => Self::too_many_tries("Too many wrong tries", until),
            StoreError::TooManyIncarnations { .. } => {
                Self::new(ProblemKind::TooManyTries, said).retry_after(PATIENCE)
            }
            StoreError::ChainBroken { next_n, shared_n } => {
                Self::new(ProblemKind::ChainBroken, said).expecting(next_n, shared_n)
            }
            StoreError::DeviceRevoked => Self::new(ProblemKind::DeviceRevoked, said),
            StoreError::BadSignature => Self::new(ProblemKind::Malformed, said).naming(FieldError {
                field: "signature".to_owned(),
                detail: "not this device's key".to_owned(),
            }),
            StoreError::TooLarge { collection, .. } => {
                let is_form = collection == Collection::Workflows;
                Self::field(if is_form { "fields" } else { collection.name() }, &said)
            }
            StoreError::OverBudget { .. } => Self::new(ProblemKind::OverBudget, said),
            StoreError::CursorRefused { expects } => {
                let mut refusal = Self::new(ProblemKind::CursorRefused, said);
                refusal.problem.expects = expects;
                refusal
            }
            StoreError::Full => {
                tracing::error!("the store could not take a write: the database's disk is full");
                Self::full()
            }
            StoreError::NotDurable(_) | StoreError::Closed => {
                tracing::error!(%said, "the store could not take a write");
                Self::new(ProblemKind::Unavailable, "The server cannot store anything right now.")
                    .retry_after(5)
            }
            StoreError::WrongKey(_)
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::ChangedMigration(_)
            | StoreError::Broken
            | StoreError::NoRandomness
            | StoreError::Unreadable(_)
            | StoreError::Engine(_) => Self::internal(&said),
        }
    }
}

impl From<PasswordError> for Refusal {
    fn from(fault: PasswordError) -> Self {
        match fault {
            PasswordError::Busy => {
                let words =
                    "Too many passwords and PINs are checked or set at once; send it again in a moment.";
                Self::new(ProblemKind::Unavailable, words).retry_after(5)
            }
            PasswordError::Argon2(fault) => Self::internal(&fault),
        }
    }
}

/// The body is larger than the endpoint takes, or comes to more in memory.
#[must_use]
pub fn too_large() -> Refusal {
    Refusal::new(
        ProblemKind::TooLarge,
        "The body is larger than this endpoint takes, or has too many lists and objects in it: send less at once.",
    )
}

/// The body is not of a type the endpoint takes.
#[must_use]
pub fn unsupported_media_type() -> Refusal {
    Refusal::new(ProblemKind::UnsupportedMediaType, "Send the body as application/json.")
}

/// Text that is not JSON, with the place where it stops being so.
#[must_use]
pub fn malformed(fault: &serde_json::Error) -> Refusal {
    Refusal::new(ProblemKind::Malformed, format!("The body is not what this endpoint takes: {fault}."))
}

/// Nobody was authenticated, or a key that is no device's.
#[must_use]
pub fn unauthenticated() -> Refusal {
    Refusal::new(
        ProblemKind::Unauthenticated,
        "Sign in and send the session's token as a bearer token; a device enrolls its key.",
    )
}

/// Collects what is wrong with a request, so that it is all said at once.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Notes a field as wrong unless `good`.
    pub fn unless(&mut self, good: bool, field: &str, detail: &str) {
        if !good {
            self.0.push(FieldError { field: field.to_owned(), detail: detail.to_owned() });
        }
    }

    /// Brings a text of one line into the form in which it is stored, and notes one that is empty, too long
    /// or no text that people can read.
    pub fn text(&mut self, field: &str, text: &mut String, most: usize) {
        self.read(field, text, most, line);
    }

    /// The same of a name of a place, a thing or a sign-in, which has a letter or a digit.
    pub fn name(&mut self, field: &str, text: &mut String, most: usize) {
        self.read(field, text, most, name);
    }

    /// As [`Self::name`] where one is given.
    pub fn maybe_name(&mut self, field: &str, text: Option<&mut String>, most: usize) {
        if let Some(text) = text {
            self.name(field, text, most);
        }
    }

    /// The same of a person's name, which has a letter.
    pub fn person_name(&mut self, field: &str, text: &mut String, most: usize) {
        self.read(field, text, most, person_name);
    }

    /// As [`Self::person_name`] where one is given.
    pub fn maybe_person_name(&mut self, field: &str, text: Option<&mut String>, most: usize) {
        if let Some(text) = text {
            self.person_name(field, text, most);
        }
    }

    fn read(
        &mut self,
        field: &str,
        text: &mut String,
        most: usize,
        form: fn(&str, usize) -> Result<String, TextError>,
    ) {
        match form(text, most) {
            Ok(read) if read.is_empty() => {
                self.unless(false, field, &format!("give a text of 1 to {most} characters"));
            }
            Ok(read) => *text = read,
            Err(error) => self.unless(false, field, &error.to_string()),
        }
    }

    /// As [`Self::text`] where one is given.
    pub fn maybe_text(&mut self, field: &str, text: Option<&mut String>, most: usize) {
        if let Some(text) = text {
            self.text(field, text, most);
        }
    }

    /// What was read, where nothing is wrong with it and nothing was noted before.
    ///
    /// # Errors
    /// `invalid`, naming each field.
    pub fn and<T>(mut self, read: Result<T, Vec<FieldError>>) -> Result<T, Refusal> {
        match read {
            Ok(read) => self.check().map(|()| read),
            Err(errors) => {
                self.0.extend(errors);
                Err(Refusal::invalid(self.0))
            }
        }
    }

    /// Refuses the request if anything was noted.
    ///
    /// # Errors
    /// `invalid`, naming each field.
    pub fn check(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_now_says_what_to_do() {
        let said = |refusal: Refusal| refusal.problem().detail.clone();
        assert!(said(StoreError::Full.into()).contains("free some space"));
        let busy = said(PasswordError::Busy.into());
        assert!(busy.contains("PIN") && busy.contains("again"), "{busy}");
        let until = "2026-05-01T14:10:00.001Z".parse().unwrap();
        let locked = said(StoreError::TooManyTries { until }.into());
        assert_eq!(locked, "Too many wrong tries; wait until 2026-05-01 14:11 UTC.");
    }
}
