//! Routes: what the table of endpoints says of one, where it is and who may call it.

use axum::routing::{MethodFilter, MethodRouter};
use carepost_protocol::role::Action;

use crate::app::App;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// Anybody.
    Public,
    /// Whoever holds the key of the connection, registered or not: enrollment.
    AnyKey,
    ActiveDevice,
    /// A device that is ACTIVE, or QUARANTINED: what it has to say is taken.
    SpeakingDevice,
    SignedIn,
    /// Whose role allows the action; the handler asks about the place.
    Person(Action),
}

/// Which listener serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The people's: no client certificate.
    People,
    /// The devices': mutual TLS.
    Devices,
}

/// An endpoint.
pub struct Route {
    pub method: http::Method,
    /// The path, with the names of what stands in it.
    pub path: &'static str,
    pub listener: Listener,
    /// Who may call it.
    pub authorization: Authorization,
    /// Its name in the OpenAPI document.
    pub operation: &'static str,
    /// What answers it.
    pub(crate) handler: fn(MethodFilter) -> MethodRouter<App>,
}

/// What stands in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    Organization,
    Facility,
    Device,
    Enrollment,
    User,
    Badge,
    Patient,
    Record,
    /// The id of an incarnation of a device's outbox.
    Incarnation,
    /// The number of a change.
    Number,
    WorkflowKey,
    /// The name of a kind of problem.
    Problem,
}

impl Parameter {
    /// Every kind, with its name in paths.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Organization, "{organization_id}"),
        (Self::Facility, "{facility_id}"),
        (Self::Device, "{device_id}"),
        (Self::Enrollment, "{enrollment_id}"),
        (Self::User, "{user_id}"),
        (Self::Badge, "{badge_id}"),
        (Self::Patient, "{patient_id}"),
        (Self::Record, "{record_id}"),
        (Self::Incarnation, "{incarnation_id}"),
        (Self::Number, "{n}"),
        (Self::WorkflowKey, "{workflow_key}"),
        (Self::Problem, "{problem}"),
    ];
}

impl Route {
    /// The methods that it answers: what can be got can be asked for without its body.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let head = (self.method == http::Method::GET).then_some("HEAD");
        std::iter::once(self.method.as_str()).chain(head)
    }

    /// What stands in its path.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let all = Parameter::ALL.into_iter();
        all.filter(|(_, name)| self.path.contains(name)).map(|(kind, _)| kind).collect()
    }

    /// Its path with something in each place.
    #[must_use]
    pub fn path_with(&self, fill: impl Fn(Parameter) -> String) -> String {
        Parameter::ALL.into_iter().fold(self.path.to_owned(), |path, (kind, name)| {
            if path.contains(name) { path.replace(name, &fill(kind)) } else { path }
        })
    }

    /// The one of all routes that shows the thing that it changes, where it changes one: the change may be bound to its
    /// version. It is the one with the same in its path; of what a body names by its key, the one of that key.
    #[must_use]
    pub fn edits<'r>(&self, routes: &'r [Self]) -> Option<&'r Self> {
        let parameters = self.parameters();
        let by_key = format!("{}/{{workflow_key}}", self.path);
        let shows = |it: &&Self| {
            let is_same = it.path.ends_with('}') && it.parameters() == parameters;
            it.method == http::Method::GET && it.listener == self.listener && (is_same || it.path == by_key)
        };
        routes.iter().find(shows).filter(|_| self.method != http::Method::GET)
    }

    /// What kind of thing it is about, for the audit log.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.path.split('/').find(|part| !matches!(*part, "" | "api" | "v1")).unwrap_or("endpoint")
    }
}
