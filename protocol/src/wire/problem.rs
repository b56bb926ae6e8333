//! Problem documents (RFC 9457): every error of the API, in one form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::workflow::FieldError;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI that names the kind of problem, and which the server explains: `/problems/...`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind of problem, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time and what to do about it.
    pub detail: String,
    /// Which fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The request, for the server's logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// With `chain-broken`: the number the server expects next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_n: Option<u64>,
    /// With `chain-broken`: the server has another history under the same numbers. It is the same up to
    /// and with this number, as far as the batch shows; 0 when not even the link before it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_n: Option<u64>,
    /// With `cursor-refused`: what the server expects next of the device's chains, where it has less
    /// than the device said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects: Option<Expects>,
    /// With `changed`: the thing as it is now, as the endpoint that shows it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub current: Option<Value>,
}

/// The numbers that a server expects next of one incarnation's lanes; none where it has all that the
/// device said was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Expects {
    /// In the care lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub care: Option<u64>,
    /// In the audit lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<u64>,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal, $help:literal;)*) => {
        /// The kinds of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the URI.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            /// The HTTP status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// The kind in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            /// What whoever meets it should do.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help),* }
            }
        }
    };
}

problems! {
    /// The body is not what the endpoint takes.
    Malformed = "malformed", 400, "Malformed request",
        "Compare the body with the OpenAPI document at /api/v1/openapi.json.";
    /// Nobody is signed in, or the key is unknown.
    Unauthenticated = "unauthenticated", 401, "Not signed in",
        "Sign in, or enroll the device, then send the request again.";
    /// The role does not allow it.
    Forbidden = "forbidden", 403, "Not allowed",
        "Ask an administrator of your organization for a role that allows it.";
    /// The device's key is refused for good.
    DeviceRevoked = "device-revoked", 403, "Device revoked",
        "An administrator deactivated this device. It has to be enrolled anew.";
    /// Two copies of the device claim to be it.
    DeviceQuarantined = "device-quarantined", 403, "Device quarantined",
        "Two devices claim to be this one. Pushing goes on; an administrator has to find the copy, then release or deactivate the device.";
    /// The facility demands encryption, and the device is not encrypted or does not say.
    NotEncrypted = "not-encrypted", 403, "Device not encrypted",
        "This facility serves encrypted devices only. Pushing goes on; run carepost-agent doctor on the device and do what it says, or update its agent.";
    /// The facility's documents are more than the device may hold.
    OverBudget = "over-budget", 403, "More than this device may hold",
        "Raise sync.max_documents in the server's configuration, or give the device a narrower view.";
    /// There is no such thing in the asker's scope.
    NotFound = "not-found", 404, "Not found",
        "Check the id. Things of other organizations and facilities look the same as missing ones.";
    /// The path does not take that method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed",
        "See the OpenAPI document at /api/v1/openapi.json for the methods of each path.";
    /// It collides with what is there.
    Conflict = "conflict", 409, "Conflict",
        "Something with that name or number exists already in your organization.";
    /// Whoever is to be admitted may be somebody whom the facility knows.
    KnownResident = "known-resident", 409, "May be known already",
        "Look at who is named. Where it is the same person, edit or readmit that one; where it is another, send the request again with what errors says of each in confirmed.";
    /// The first request with the key is under way, or was done and its answer is not known.
    IdempotencyKeyInUse = "idempotency-key-in-use", 409, "The key is in use",
        "Send the same request again as the Retry-After header says; without one, look at what is there.";
    /// The batch does not continue the device's chain.
    ChainBroken = "chain-broken", 409, "The batch does not continue the chain",
        "Send again from the number in next_n; with shared_n, go on under a new incarnation that forks there.";
    /// The cursor is of another epoch, or beyond the head.
    CursorRefused = "cursor-refused", 410, "The cursor is not served any more",
        "Pull again from the beginning. What waits in the outbox is not affected.";
    /// The thing has another version than the change was made for.
    Changed = "changed", 412, "Changed meanwhile",
        "Look at current, which is what it is now, and send what you still want to change with the ETag header of this answer as If-Match.";
    /// The body is larger than the endpoint takes.
    TooLarge = "too-large", 413, "Body too large",
        "Send less at once; the limits are in the OpenAPI document.";
    /// The body has a type the endpoint does not take.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type",
        "Send application/json.";
    /// The body is packed in a way that the endpoint does not take.
    UnsupportedEncoding = "unsupported-encoding", 415, "Unsupported content encoding",
        "Send the body as it is, or packed once in a way that the Accept-Encoding header names.";
    /// A value breaks a rule.
    Invalid = "invalid", 422, "Invalid value",
        "Correct the fields named in errors and send the request again.";
    /// Another request was done with the key.
    IdempotencyKeyReused = "idempotency-key-reused", 422, "The key is another request's",
        "Draw a new Idempotency-Key for each request that is meant, and use it again only to repeat that one.";
    /// Too many tries.
    TooManyTries = "too-many-tries", 429, "Too many tries",
        "Wait as long as the Retry-After header says.";
    /// More at once, in a minute or in an hour, than somebody may have.
    OverQuota = "over-quota", 429, "More than may be done at once",
        "Wait as long as the Retry-After header says; what waits is not lost.";
    /// The server is broken or out of something.
    Internal = "internal", 500, "Something broke on the server",
        "Try again. If it goes on, give the operator the request_id.";
    /// The server cannot do it right now.
    Unavailable = "unavailable", 503, "Not available right now",
        "Try again as the Retry-After header says.";
}

impl ProblemKind {
    /// The URI that names it.
    #[must_use]
    pub fn uri(self) -> String {
        format!("/problems/{}", self.slug())
    }

    /// The kind that a URI names; the part before `/problems/` does not matter.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let slug = uri.rsplit_once("/problems/")?.1;
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// A problem of this kind.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Problem {
        Problem {
            problem_type: self.uri(),
            title: self.title().to_owned(),
            status: self.status(),
            detail: detail.into(),
            errors: Vec::new(),
            request_id: None,
            next_n: None,
            shared_n: None,
            expects: None,
            current: None,
        }
    }
}

impl Problem {
    /// Its kind, if this build knows it.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        ProblemKind::from_uri(&self.problem_type)
    }
}
