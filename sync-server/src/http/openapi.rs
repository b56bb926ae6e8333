//! The OpenAPI document (3.1), put together from the handlers' annotations.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::http::api::{
    audit_log, badges, changes, devices, enrollments, facilities, meta, older, organizations, patients,
    reviews, sessions, stream, sync, users, workflows,
};
use crate::http::route::Route;

/// The document of the API for people, programs and devices.
#[derive(OpenApi)]
#[openapi(
    info(title = "Carepost", description = "Care records of many organizations, none of which sees another."),
    modifiers(&Security),
    paths(
        meta::health, openapi, meta::list_problems, meta::explain_problem,
        sessions::sign_in, sessions::current_session, sessions::sign_out,
        organizations::list_organizations, organizations::create_organization,
        organizations::show_organization, organizations::update_organization,
        facilities::list_facilities, facilities::create_facility, facilities::show_facility,
        facilities::update_facility, facilities::update_census,
        devices::list_devices, devices::register_device, devices::show_device, devices::update_device,
        devices::deactivate_device, devices::withdraw_device, devices::release_device,
        enrollments::approve_enrollment, enrollments::confirm_enrollment,
        users::list_users, users::create_user, users::show_user, users::update_user, users::set_pin,
        users::set_password,
        badges::list_badges, badges::show_badge, badges::issue_badge, badges::issue_tapped_badge, badges::revoke_badge,
        workflows::list_workflows, workflows::publish_workflow, workflows::show_workflow,
        patients::list_patients, patients::create_patient, patients::show_patient, patients::update_patient,
        patients::discharge_patient, patients::list_records, patients::strike_record,
        changes::list_refused_changes, changes::list_flagged_changes, reviews::list_reviews,
        changes::export_refused_change, changes::retry_refused_change, changes::discard_refused_change,
        audit_log::search_audit_events,
        sync::enroll, sync::heartbeat, sync::push, stream::pull, stream::live,
        older::older_records,
    )
)]
pub struct Document;

/// The document as it is served: made once, and the same bytes for everybody.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into());
/// The same, to be looked up in.
static DESCRIBED: LazyLock<Value> = LazyLock::new(|| serde_json::from_slice(&DOCUMENT).unwrap_or_default());

/// What the document says of a route.
#[must_use]
pub fn described(route: &Route) -> &'static Value {
    let method = route.method.as_str().to_ascii_lowercase();
    let operation = DESCRIBED.get("paths").and_then(|paths| paths.get(route.path)?.get(&method));
    operation.unwrap_or(&Value::Null)
}

/// The OpenAPI document of this API.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "server", responses((status = 200, body = Object)))]
pub async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("session", SecurityScheme::Http(bearer));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::OpenApi as _;

    use super::Document;
    use crate::http::routes::ROUTES;

    #[test]
    fn the_document_lists_exactly_what_is_served() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                described.insert((method.to_uppercase(), path.clone(), id.to_owned()));
            }
        }
        let served: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.method.to_string(), route.path.to_owned(), route.operation.to_owned()))
            .collect();
        assert_eq!(described, served);
        assert_eq!(document["openapi"], "3.1.0");
    }
}
