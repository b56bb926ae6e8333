//! What each operation of the people's API carries, with ids wherever the API's own description says
//! that one may stand.

use std::sync::atomic::{AtomicU32, Ordering};

use carepost_server::http::route::{Listener, Parameter, Route};
use carepost_server::http::routes::ROUTES;
use reqwest::Method;
use serde_json::{Value, json};

use super::tenants::Place;

/// What ends like the name of an id and is none: the employer's own number for a user.
const NO_IDS: [&str; 1] = ["employee_id"];

/// A request to be sent.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

/// A place of a request where an id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    Path(String),
    Query(String),
    Body(String),
}

impl Spot {
    /// What the id is called there.
    pub fn name(&self) -> &str {
        match self {
            Self::Path(name) | Self::Query(name) | Self::Body(name) => name,
        }
    }
}

impl Request {
    /// A request of a route about a place's own things.
    pub fn own(route: &'static Route, place: &Place, document: &Value) -> Self {
        let value = |name: &str| place.value(name);
        let mut body = template(route.operation, &place.code);
        for spot in spots(route, document) {
            if let (Spot::Body(name), Some(body)) = (spot, &mut body) {
                body[&name] = json!(value(&name));
            }
        }
        Self { method: route.method.clone(), path: route.path_with(|kind| value(called(kind))), body }
    }

    /// The same with another id in one spot.
    pub fn with(route: &'static Route, place: &Place, document: &Value, spot: &Spot, id: &str) -> Self {
        let mut request = Self::own(route, place, document);
        match spot {
            Spot::Path(name) => {
                let own = |kind| place.value(called(kind));
                request.path =
                    route.path_with(|kind| if called(kind) == name { id.to_owned() } else { own(kind) });
            }
            Spot::Query(name) => request.path = format!("{}?{name}={id}", request.path),
            Spot::Body(name) => {
                if let Some(body) = &mut request.body {
                    body[name] = json!(id);
                }
            }
        }
        request
    }

    /// The same under `/api`.
    pub fn aliased(&self) -> Self {
        let path = self.path.replacen("/api/v1/", "/api/", 1);
        Self { method: self.method.clone(), path, body: self.body.clone() }
    }
}

/// Where ids stand in the requests of a route.
pub fn spots(route: &Route, document: &Value) -> Vec<Spot> {
    let path = route.parameters().into_iter().map(|kind| Spot::Path(called(kind).to_owned()));
    let operation = described(route, document);
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let query = parameters.iter().filter(|it| it["in"] == "query").filter_map(|it| it["name"].as_str());
    let query = query.filter(|name| is_id(name)).map(|name| Spot::Query(name.to_owned()));
    let schema = body_schema(operation, document);
    let fields = schema.and_then(|schema| schema["properties"].as_object());
    let body = fields.into_iter().flat_map(|fields| fields.keys()).filter(|name| is_id(name));
    path.chain(query).chain(body.map(|name| Spot::Body(name.clone()))).collect()
}

/// Rows of ROUTES that the matrix cannot fill: it has to learn them.
pub fn unknown(document: &Value) -> Vec<String> {
    let ids = [
        "organization_id",
        "facility_id",
        "device_id",
        "enrollment_id",
        "user_id",
        "badge_id",
        "patient_id",
        "record_id",
        "incarnation_id",
        "n",
        "session_id",
        "workflow_key",
        "problem",
    ];
    let mut breaches = Vec::new();
    for route in ROUTES.iter().filter(|route| route.listener == Listener::People) {
        let operation = described(route, document);
        if operation["operationId"] != route.operation {
            breaches.push(format!("{} is not in the API's description", route.operation));
        }
        let bodied = operation.get("requestBody").is_some();
        match template(route.operation, "BCDF-GHJK") {
            None if bodied => breaches.push(format!("the matrix knows no body of {}", route.operation)),
            Some(_) if !bodied => breaches.push(format!("{} takes no body any more", route.operation)),
            None | Some(_) => {}
        }
        for spot in spots(route, document).iter().filter(|spot| !ids.contains(&spot.name())) {
            breaches.push(format!("the matrix knows no {spot:?} of {}", route.operation));
        }
        if route.path_with(|_| String::new()).contains('{') {
            breaches.push(format!("{} has a path parameter that Parameter does not name", route.path));
        }
    }
    breaches
}

/// Shows that something new in the API would be found: an id, a body, a renamed operation.
pub fn finds_what_is_new(document: &Value) {
    let found = |plant: &dyn Fn(&mut Value), word: &str| {
        let mut planted = document.clone();
        plant(&mut planted);
        let breaches = unknown(&planted);
        assert!(breaches.len() == 1 && breaches[0].contains(word), "{word} is not found: {breaches:?}");
    };
    let users = "/api/v1/users";
    found(
        &|it| it["components"]["schemas"]["CreatePatient"]["properties"]["ward_id"] = json!({}),
        "Body(\"ward_id\")",
    );
    found(&|it| it["paths"][users]["get"]["parameters"][0]["name"] = json!("team_id"), "Query(\"team_id\")");
    found(
        &|it| it["paths"]["/api/v1/badges/{badge_id}/revoke"]["post"]["requestBody"] = json!({}),
        "no body of revoke_badge",
    );
    found(&|it| it["paths"][users]["get"]["operationId"] = json!("users"), "list_users");
}

fn is_id(name: &str) -> bool {
    name.ends_with("_id") && !NO_IDS.contains(&name)
}

fn described<'a>(route: &Route, document: &'a Value) -> &'a Value {
    &document["paths"][route.path][route.method.as_str().to_lowercase()]
}

fn body_schema<'a>(operation: &'a Value, document: &'a Value) -> Option<&'a Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    document["components"]["schemas"].get(name)
}

/// What a kind of path parameter is called, without its braces.
pub fn called(kind: Parameter) -> &'static str {
    let found = Parameter::ALL.into_iter().find(|(it, _)| *it == kind);
    found.map_or("", |(_, name)| name.trim_matches(['{', '}']))
}

/// A body for each operation that takes one, valid but for the ids: none for what the matrix does not
/// know. Names and numbers that have to be unique are so.
fn template(operation: &str, code: &str) -> Option<Value> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = match operation {
        "sign_in" => json!({"organization": "sunrise", "username": "nobody", "password": "not the password"}),
        "create_organization" => json!({"name": format!("Organization {n}"), "slug": format!("made-{n}")}),
        "update_organization" => json!({"contact": {"phone": "+1 555 0199"}}),
        "create_facility" => json!({"name": format!("Wing {n}"), "facility_type": "ALF"}),
        "update_facility" => json!({"phone": "+1 555 0142"}),
        "update_census" => json!({"current_census": 7}),
        "register_device" => json!({"device_name": format!("Tablet {n}"), "device_type": "TABLET"}),
        "deactivate_device" => json!({"reason": "retired"}),
        "withdraw_device" => json!({"since": "2100-01-01T00:00:00Z"}),
        "update_device" => json!({"device_name": format!("Renamed {n}")}),
        "approve_enrollment" => json!({"code": code, "device_name": "Hall", "device_type": "TABLET"}),
        "confirm_enrollment" => json!({"number": "00"}),
        "create_user" => json!({"username": format!("user.{n}"), "role": "caregiver"}),
        "update_user" => json!({"display_name": format!("User {n}")}),
        "set_pin" => json!({"pin": "482915"}),
        "set_password" => json!({"password": format!("another long passphrase {n}")}),
        "issue_badge" => json!({"uid": format!("05{n:012X}")}),
        "issue_tapped_badge" => json!({"card": "5e5e5e5e..."}),
        "publish_workflow" => json!({"key": format!("made_{n}"), "label": format!("Made {n}"),
            "fields": [{"key": "note", "label": "Note", "type": "string"}]}),
        "create_patient" => json!({"mrn": format!("MRN-{n}"), "name": format!("Resident Made {n}")}),
        "strike_record" => json!({"reason": "the wrong resident"}),
        "discard_rejected_change" => json!({"reason": "entered for a drill"}),
        "update_patient" => json!({"room": "12"}),
        _ => return None,
    };
    Some(body)
}
