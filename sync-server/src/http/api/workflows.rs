//! Workflow schemas: published by version, every version kept (S4-53, S4-54).

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::WorkflowId;
use carepost_protocol::role::Role;
use carepost_protocol::workflow::{Field, Rule, Workflow, is_key};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::http::body::{Id, Json, Params};
use crate::http::guard::Person;

/// A schema to be published: a new workflow, or the next version of the one with that key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishWorkflow {
    /// Its name in paths and records.
    key: String,
    /// What people call it.
    label: String,
    /// Whether kiosks offer it.
    #[serde(default = "yes")]
    enabled: bool,
    /// What the form asks.
    fields: Vec<Field>,
    /// What holds between two of its numbers.
    #[serde(default)]
    rules: Vec<Rule>,
    /// Which roles may correct another's entry; all that may chart unless given.
    #[serde(default)]
    corrected_by: Vec<Role>,
}

const fn yes() -> bool {
    true
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfVersion {
    /// That one; the latest unless given.
    version: Option<u32>,
}

/// The organization's workflows, each in its latest version.
#[utoipa::path(get, path = "/api/v1/workflows", operation_id = "list_workflows", tag = "workflows", security(("session" = [])), responses((status = 200, body = List<Workflow>)))]
pub async fn list_workflows(person: Person) -> Answer<axum::Json<List<Workflow>>> {
    Ok(axum::Json(List::of(person.registry()?.workflows().await?, std::convert::identity)))
}

/// Publishes a schema; every kiosk of the organization offers it from its next sync on.
#[utoipa::path(post, path = "/api/v1/workflows", operation_id = "publish_workflow", tag = "workflows", security(("session" = [])), request_body = PublishWorkflow, responses((status = 201, body = Workflow)))]
pub async fn publish_workflow(
    person: Person,
    Json(asked): Json<PublishWorkflow>,
) -> Answer<(StatusCode, axum::Json<Workflow>)> {
    // The store keeps the id of a workflow that is known, and counts its versions.
    let mut workflow = Workflow {
        id: WorkflowId::new(clock::now(), clock::random()),
        key: asked.key,
        label: asked.label,
        version: 1,
        enabled: asked.enabled,
        fields: asked.fields,
        rules: asked.rules,
        corrected_by: asked.corrected_by,
    };
    workflow.check().map_err(Refusal::invalid)?;
    let note = person.note(AuditEventType::ApiAccess, AuditAction::Create, "workflow");
    let published = person.noting(note)?.publish_workflow(workflow).await?;
    Ok((StatusCode::CREATED, axum::Json(published)))
}

/// One workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_key}", operation_id = "show_workflow", tag = "workflows", security(("session" = [])), params(("workflow_key" = String, Path), OfVersion), responses((status = 200, body = Workflow)))]
pub async fn show_workflow(
    person: Person,
    Id(key): Id<String>,
    Params(of): Params<OfVersion>,
) -> Answer<axum::Json<Workflow>> {
    if !is_key(&key) {
        return Err(Refusal::not_found());
    }
    Ok(axum::Json(person.registry()?.workflow(&key, of.version).await?))
}
