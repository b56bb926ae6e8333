//! ROUTES: the one table of endpoints. Both routers are built from it, so what is not in it is not
//! served, and each row says who may call it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};
use carepost_protocol::role::Action;
use http::StatusCode;
use http::header::ALLOW;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::error::Refusal;
use crate::http::api::{
    audit_log, badges, changes, devices, enrollments, facilities, meta, organizations, patients, reviews,
    sessions, stream, sync, users, workflows,
};
use crate::http::authentication::authenticate;
use crate::http::body;
use crate::http::condition;
use crate::http::idempotency;
use crate::http::openapi::{Description, openapi};
use crate::http::parameters;
use crate::http::problem::{finish, of_panic};
use crate::http::route::{Authorization, Listener, Route};
use crate::http::tenant::take_slug;

macro_rules! routes {
    ($($listener:ident $method:ident $path:literal $authorization:expr => $operation:literal $handler:path;)*) => {
        /// Every endpoint of the server.
        pub static ROUTES: &[Route] = &[$(Route {
            method: http::Method::$method,
            path: $path,
            listener: Listener::$listener,
            authorization: $authorization,
            operation: $operation,
            handler: |filter| on(filter, $handler),
        },)*];
    };
}

use Action as A;
use Authorization::{ActiveDevice, AnyKey, Person, Public, SignedIn, SpeakingDevice};

routes! {
    People GET "/api/v1/health" Public => "health" meta::health;
    People GET "/api/v1/openapi.json" Public => "openapi" openapi;
    People GET "/problems" Public => "list_problems" meta::list_problems;
    People GET "/problems/{problem}" Public => "explain_problem" meta::explain_problem;

    People POST "/api/v1/sessions" Public => "sign_in" sessions::sign_in;
    People GET "/api/v1/sessions/current" SignedIn => "current_session" sessions::current_session;
    People DELETE "/api/v1/sessions/current" SignedIn => "sign_out" sessions::sign_out;

    People GET "/api/v1/organizations" Person(A::ReadOrganization) => "list_organizations" organizations::list_organizations;
    People POST "/api/v1/organizations" Person(A::ManagePlatform) => "create_organization" organizations::create_organization;
    People GET "/api/v1/organizations/{organization_id}" Person(A::ReadOrganization) => "show_organization" organizations::show_organization;
    People PUT "/api/v1/organizations/{organization_id}" Person(A::ManageOrganization) => "update_organization" organizations::update_organization;

    People GET "/api/v1/facilities" Person(A::ReadFacility) => "list_facilities" facilities::list_facilities;
    People POST "/api/v1/facilities" Person(A::ManageOrganization) => "create_facility" facilities::create_facility;
    People GET "/api/v1/facilities/{facility_id}" Person(A::ReadFacility) => "show_facility" facilities::show_facility;
    People PUT "/api/v1/facilities/{facility_id}" Person(A::ManageFacility) => "update_facility" facilities::update_facility;
    People PUT "/api/v1/facilities/{facility_id}/census" Person(A::UpdateCensus) => "update_census" facilities::update_census;
    People GET "/api/v1/facilities/{facility_id}/devices" Person(A::ReadDevices) => "list_devices" devices::list_devices;

    People POST "/api/v1/devices" Person(A::ManageDevices) => "register_device" devices::register_device;
    People GET "/api/v1/devices/{device_id}" Person(A::ReadDevices) => "show_device" devices::show_device;
    People PUT "/api/v1/devices/{device_id}" Person(A::ManageDevices) => "update_device" devices::update_device;
    People POST "/api/v1/devices/{device_id}/deactivate" Person(A::ManageDevices) => "deactivate_device" devices::deactivate_device;
    People POST "/api/v1/devices/{device_id}/withdraw" Person(A::ManageDevices) => "withdraw_device" devices::withdraw_device;
    People POST "/api/v1/devices/{device_id}/release" Person(A::ManageDevices) => "release_device" devices::release_device;

    People POST "/api/v1/enrollments/approve" Person(A::ManageDevices) => "approve_enrollment" enrollments::approve_enrollment;
    People POST "/api/v1/enrollments/{enrollment_id}/confirm" Person(A::ManageDevices) => "confirm_enrollment" enrollments::confirm_enrollment;

    People GET "/api/v1/users" Person(A::ManageUsers) => "list_users" users::list_users;
    People POST "/api/v1/users" Person(A::ManageUsers) => "create_user" users::create_user;
    People GET "/api/v1/users/{user_id}" Person(A::ManageUsers) => "show_user" users::show_user;
    People PUT "/api/v1/users/{user_id}" Person(A::ManageUsers) => "update_user" users::update_user;
    People PUT "/api/v1/users/{user_id}/pin" Person(A::ManageUsers) => "set_pin" users::set_pin;
    People PUT "/api/v1/users/{user_id}/password" Person(A::ManageUsers) => "set_password" users::set_password;
    People GET "/api/v1/users/{user_id}/badges" Person(A::ManageUsers) => "list_badges" badges::list_badges;
    People GET "/api/v1/badges/{badge_id}" Person(A::ManageUsers) => "show_badge" badges::show_badge;
    People POST "/api/v1/badges" Person(A::ManageUsers) => "issue_badge" badges::issue_badge;
    People POST "/api/v1/devices/{device_id}/issue-tapped-badge" Person(A::ManageUsers) => "issue_tapped_badge" badges::issue_tapped_badge;
    People POST "/api/v1/badges/{badge_id}/revoke" Person(A::ManageUsers) => "revoke_badge" badges::revoke_badge;

    People GET "/api/v1/workflows" Person(A::ReadWorkflows) => "list_workflows" workflows::list_workflows;
    People POST "/api/v1/workflows" Person(A::ManageWorkflows) => "publish_workflow" workflows::publish_workflow;
    People GET "/api/v1/workflows/{workflow_key}" Person(A::ReadWorkflows) => "show_workflow" workflows::show_workflow;

    People GET "/api/v1/patients" Person(A::ReadPatients) => "list_patients" patients::list_patients;
    People POST "/api/v1/patients" Person(A::ManagePatients) => "create_patient" patients::create_patient;
    People GET "/api/v1/patients/{patient_id}" Person(A::ReadPatients) => "show_patient" patients::show_patient;
    People PUT "/api/v1/patients/{patient_id}" Person(A::ManagePatients) => "update_patient" patients::update_patient;
    People DELETE "/api/v1/patients/{patient_id}" Person(A::ManagePatients) => "discharge_patient" patients::discharge_patient;
    People GET "/api/v1/patients/{patient_id}/records" Person(A::ReadPatients) => "list_records" patients::list_records;
    People POST "/api/v1/patients/{patient_id}/records/{record_id}/entered-in-error" Person(A::ManagePatients) => "strike_record" patients::strike_record;

    People GET "/api/v1/facilities/{facility_id}/rejected-changes" Person(A::ReadPatients) => "list_rejected_changes" changes::list_rejected_changes;
    People GET "/api/v1/facilities/{facility_id}/flagged-changes" Person(A::ReadPatients) => "list_flagged_changes" changes::list_flagged_changes;
    People GET "/api/v1/facilities/{facility_id}/reviews" Person(A::ReadPatients) => "list_reviews" reviews::list_reviews;
    People GET "/api/v1/devices/{device_id}/changes/{incarnation_id}/{n}" Person(A::ReadPatients) => "export_change" changes::export_change;
    People POST "/api/v1/devices/{device_id}/rejected-changes/{incarnation_id}/{n}/retry" Person(A::ManagePatients) => "retry_rejected_change" changes::retry_rejected_change;
    People POST "/api/v1/devices/{device_id}/rejected-changes/{incarnation_id}/{n}/discard" Person(A::ManagePatients) => "discard_rejected_change" changes::discard_rejected_change;

    People GET "/api/v1/audit-events" Person(A::ReadAudit) => "search_audit_events" audit_log::search_audit_events;

    Devices POST "/api/v1/enroll" AnyKey => "enroll" sync::enroll;
    Devices POST "/api/v1/devices/{device_id}/heartbeat" SpeakingDevice => "heartbeat" sync::heartbeat;
    Devices POST "/api/v1/sync/push" SpeakingDevice => "push" sync::push;
    Devices GET "/api/v1/sync/pull" ActiveDevice => "pull" stream::pull;
    Devices GET "/api/v1/sync/live" ActiveDevice => "live" stream::live;
    Devices GET "/api/v1/sync/patients/{patient_id}/older-records" ActiveDevice => "older_records" sync::older_records;
}

/// What the API's document says of these routes.
pub static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description::of(ROUTES));

/// The router of one listener: every route of it, under `/api/v1` and `/api` alike, with or without
/// `/org/{slug}` before it. Of each path, OPTIONS tells the methods to anybody, as the API's description does.
pub fn router(app: &App, listener: Listener) -> Router {
    let mut router = Router::new();
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in ROUTES.iter().filter(|route| route.listener == listener) {
        // Every method of the table is one that axum can filter by.
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        methods.entry(route.path).or_default().extend(route.methods());
        router = with(router, route.path, guarded(app, route, (route.handler)(filter)));
    }
    for (path, methods) in methods {
        let allow = format!("{}, OPTIONS", methods.join(", "));
        let told = async move || (StatusCode::NO_CONTENT, [(ALLOW, allow)]);
        router = with(router, path, on(MethodFilter::OPTIONS, told));
    }
    let router = router
        .fallback(async || Refusal::not_found())
        .with_state(app.clone())
        .layer(Extension(&*DESCRIPTION))
        .layer(CatchPanicLayer::custom(of_panic))
        .layer(from_fn(finish));
    // The slug has to leave the path before the path is looked up.
    Router::new().fallback_service(router.map_request(take_slug))
}

/// What a handler stands behind. Devices have their own manners, which their wire protocol says.
fn guarded(app: &App, route: &'static Route, handler: MethodRouter<App>) -> MethodRouter<App> {
    let polite = match route.listener {
        Listener::Devices => handler,
        Listener::People => {
            let shows = route.edits(ROUTES);
            let shows: Option<MethodRouter> =
                shows.map(|it| (it.handler)(MethodFilter::GET).with_state(app.clone()));
            let described = DESCRIPTION.operation(route);
            let taken = parameters::taken(described);
            let heard = if described.get("requestBody").is_some() {
                handler
            } else {
                handler.route_layer(from_fn_with_state(app.clone(), body::nothing))
            };
            heard
                .route_layer(from_fn_with_state((app.clone(), route), idempotency::layer))
                .route_layer(from_fn_with_state(shows, condition::layer))
                .route_layer(from_fn_with_state(taken, parameters::layer))
        }
    };
    polite.route_layer(from_fn_with_state((app.clone(), route), authenticate))
}

fn with(router: Router<App>, path: &str, served: MethodRouter<App>) -> Router<App> {
    match path.strip_prefix("/api/v1/") {
        Some(rest) => router.route(&format!("/api/{rest}"), served.clone()).route(path, served),
        None => router.route(path, served),
    }
}
