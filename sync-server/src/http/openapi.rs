//! The OpenAPI document (3.1), put together from the handlers' annotations.

use std::collections::HashSet;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use carepost_protocol::patient::{FIELDS, Field};
use carepost_protocol::wire::problem::MEDIA_TYPE;
use http::Method;
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ArrayItems, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Ref, RefOr};
use utoipa::{Modify, OpenApi};

use crate::http::api::{
    audit_log, badges, changes, devices, enrollments, facilities, meta, organizations, patients, reviews,
    sessions, stream, sync, users, workflows,
};
use crate::http::route::{Listener, Route};

/// The document of the API for people, programs and devices.
#[derive(OpenApi)]
#[openapi(
    info(title = "Carepost", description = "Care records of many organizations, none of which sees another."),
    modifiers(&Security, &PatientFields),
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
        changes::list_rejected_changes, changes::list_flagged_changes, reviews::list_reviews,
        changes::export_change, changes::retry_rejected_change, changes::discard_rejected_change,
        audit_log::search_audit_events,
        sync::enroll, sync::heartbeat, sync::push, stream::pull, stream::live, sync::older_records,
    )
)]
pub struct Document;

/// The document, with what all routes of a kind have alike: made once, and the same bytes for everybody.
pub struct Description {
    document: Value,
    served: Bytes,
}

impl Description {
    /// What the document says of these routes.
    #[must_use]
    pub fn of(routes: &[Route]) -> Self {
        let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
        let answered = answered(&document);
        let tagged = routes.iter().filter_map(|route| route.edits(routes));
        let tagged: HashSet<String> = tagged.flat_map(|route| views(&document, route)).collect();
        for route in routes.iter().filter(|route| route.listener == Listener::People) {
            let is_tagged = !views(&document, route).is_disjoint(&tagged);
            if let Some(operation) = document.pointer_mut(&pointer(route)) {
                add_manners(route, routes, is_tagged, operation);
                let body = operation.get("requestBody").cloned().unwrap_or_default();
                close(&mut document, &answered, &body);
            }
        }
        Self { served: document.to_string().into(), document }
    }

    /// All that it says.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// What it says of one.
    #[must_use]
    pub fn operation(&self, route: &Route) -> &Value {
        self.document.pointer(&pointer(route)).unwrap_or(&Value::Null)
    }
}

/// The OpenAPI document of this API.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "server", responses((status = 200, body = Object)))]
pub async fn openapi(Extension(described): Extension<&'static Description>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], described.served.clone())
}

/// Adds to an operation what all of its kind have; whether it shows the version of something, too.
fn add_manners(route: &Route, routes: &[Route], is_tagged: bool, operation: &mut Value) {
    let mut headers = Vec::new();
    if route.method == Method::POST {
        let words = "Of 16 to 128 characters: the request is done once for it within 24 hours, and answered the same.";
        headers.push(header("Idempotency-Key", words));
    }
    let edits = route.edits(routes).is_some();
    if edits {
        let words = "The ETag that the thing was shown with: what has another by now is not changed (412).";
        headers.push(header("If-Match", words));
    }
    let parameters = operation.as_object_mut().map(|it| it.entry("parameters").or_insert_with(|| json!([])));
    if let Some(Value::Array(parameters)) = parameters {
        parameters.extend(headers);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    if is_tagged {
        let tag = json!({"ETag": {"description": "The version of what can be edited", "schema": {"type": "string"}}});
        for shown in ["200", "201"] {
            if let Some(shown) = responses.get_mut(shown).and_then(Value::as_object_mut) {
                shown.insert("headers".to_owned(), tag.clone());
            }
        }
    }
    if edits {
        let words = "It was changed meanwhile: `current` is what it is now, and the ETag header its version";
        responses.insert("412".to_owned(), problem(words));
    }
    responses.insert("default".to_owned(), problem("Why it was not done, and what to do (RFC 9457)"));
}

/// The schemas of what an operation answers with when it is done: its own, and those whose members are in it.
fn views(document: &Value, route: &Route) -> HashSet<String> {
    let mut found = HashSet::new();
    for status in ["200", "201"] {
        let answer = format!("{}/responses/{status}/content/application~1json/schema/$ref", pointer(route));
        let Some(own) = document.pointer(&answer).and_then(Value::as_str) else { continue };
        let parts = document.pointer(&format!("{}/allOf", own.trim_start_matches('#')));
        let parts = parts.and_then(Value::as_array).into_iter().flatten();
        found.extend(parts.filter_map(|part| part["$ref"].as_str()).chain([own]).map(str::to_owned));
    }
    found
}

/// The schemas that answers are described with: they may get more members, and a client has to take them.
fn answered(document: &Value) -> HashSet<String> {
    let mut found = HashSet::new();
    let operations =
        document["paths"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
    for operation in operations.flat_map(Map::values) {
        reach(document, &operation["responses"], &mut |at| found.insert(at.to_owned()));
    }
    found
}

/// Says of what a body alone is described with that it has no other members: they are refused by name.
fn close(document: &mut Value, answered: &HashSet<String>, body: &Value) {
    let mut found = HashSet::new();
    reach(document, body, &mut |at| found.insert(at.to_owned()));
    for at in found.difference(answered) {
        if let Some(schema) = document.pointer_mut(at).and_then(Value::as_object_mut)
            && schema.contains_key("properties")
        {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
    }
}

/// Follows what is described to all schemas that it refers to, once each: `found` says whether one is new.
fn reach(document: &Value, described: &Value, found: &mut dyn FnMut(&str) -> bool) {
    match described {
        Value::Array(all) => all.iter().for_each(|it| reach(document, it, found)),
        Value::Object(members) => members.values().for_each(|it| reach(document, it, found)),
        Value::String(text) => {
            if let Some((at, schema)) =
                text.strip_prefix('#').and_then(|at| Some((at, document.pointer(at)?)))
                && found(at)
            {
                reach(document, schema, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn header(name: &str, says: &str) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": says, "schema": {"type": "string"}})
}

fn problem(says: &str) -> Value {
    let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    json!({"description": says, "content": {MEDIA_TYPE: schema}})
}

/// Where the document has a route.
fn pointer(route: &Route) -> String {
    let method = route.method.as_str().to_ascii_lowercase();
    let keys = ["paths", route.path, &method].map(|key| key.replace('~', "~0").replace('/', "~1"));
    format!("/{}", keys.join("/"))
}

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("session", SecurityScheme::Http(bearer));
    }
}

/// The fields of a patient, as members beside their own of the schemas that have them.
struct PatientFields;

impl Modify for PatientFields {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let Some(components) = &mut document.components else { return };
        let is_asked_of_all = |field: &Field| field.missing.is_some();
        add_fields(components, "CreatePatient", is_asked_of_all, is_asked_of_all);
        add_fields(components, "UpdatePatient", |_| false, is_asked_of_all);
        add_fields(components, "PatientView", |_| true, is_asked_of_all);
        // A list has its own copy of what it is a list of.
        let list = components.schemas.get_mut("List_PatientView");
        let Some(RefOr::T(Schema::Object(list))) = list else { return };
        if let Some(RefOr::T(Schema::Array(items))) = list.properties.get_mut("items") {
            let patient = Ref::from_schema_name("PatientView");
            items.items = ArrayItems::RefOrSchema(Box::new(patient.into()));
        }
    }
}

/// Adds the fields that are asked for to a schema: which have to be there, and which are never null.
fn add_fields(
    components: &mut Components,
    schema: &str,
    is_required: impl Fn(&Field) -> bool,
    is_text: impl Fn(&Field) -> bool,
) {
    let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema) else { return };
    for field in FIELDS.iter().filter(|field| field.is_asked()) {
        let null = [Type::String, Type::Null];
        let types = if is_text(field) { SchemaType::new(Type::String) } else { SchemaType::from_iter(null) };
        let says = format!("{}.", field.what);
        let property = ObjectBuilder::new().schema_type(types).description(Some(says));
        object.properties.insert(field.key.to_owned(), property.into());
        object.required.extend(is_required(field).then(|| field.key.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use utoipa::OpenApi as _;

    use super::{Description, Document};
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

    #[test]
    fn a_body_has_no_members_but_those_that_are_described() {
        let described = Description::of(ROUTES);
        let schemas = &described.document["components"]["schemas"];
        for of_body in ["CreateFacility", "FirstAdmin", "CreatePatient", "UpdatePatient"] {
            assert_eq!(schemas[of_body]["additionalProperties"], false, "{of_body}");
        }
        for of_answer in ["FacilityView", "Address", "Field"] {
            assert!(schemas[of_answer].get("additionalProperties").is_none(), "{of_answer} may get more");
        }
    }

    #[test]
    fn a_patients_fields_are_members_that_may_be_absent_or_null_where_that_is_so() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let schemas = &document["components"]["schemas"];
        let required = |schema: &str, field: &str| {
            schemas[schema]["required"].as_array().into_iter().flatten().any(|it| it == field)
        };
        let types = |schema: &str, field: &str| schemas[schema]["properties"][field]["type"].clone();
        for (schema, field, is_required, is_text) in [
            ("CreatePatient", "facility_id", true, None),
            ("CreatePatient", "name", true, Some(true)),
            ("CreatePatient", "mrn", false, Some(false)),
            ("UpdatePatient", "name", false, Some(true)),
            ("UpdatePatient", "medicare", false, Some(false)),
            ("PatientView", "name", true, Some(true)),
            ("PatientView", "mrn", true, Some(false)),
            ("PatientView", "room", true, Some(false)),
        ] {
            assert_eq!(required(schema, field), is_required, "{schema} {field}");
            assert!(schemas[schema]["properties"].get(field).is_some(), "{schema} {field}");
            let Some(is_text) = is_text else { continue };
            let expected = if is_text { json!("string") } else { json!(["string", "null"]) };
            assert_eq!(types(schema, field), expected, "{schema} {field}");
        }
        let listed = &schemas["List_PatientView"]["properties"]["items"]["items"];
        assert_eq!(listed, &json!({"$ref": "#/components/schemas/PatientView"}));
    }
}
