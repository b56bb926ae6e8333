//! Workflow schemas: published by version, every version kept (S4-53, S4-54).

use std::convert::identity;

use carepost_protocol::workflow::Workflow;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{List, Paged, Tagged};
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::{Id, Params};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::operations::workflows::{self, PublishWorkflow};

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfVersion {
    /// That one; the latest unless given.
    version: Option<u32>,
}

/// The organization's workflows, each in its latest version, by `label` or `key`, by pages.
#[utoipa::path(get, path = "/api/v1/workflows", operation_id = "list_workflows", tag = "workflows", security(("session" = [])), params(Which), responses((status = 200, body = List<Workflow>)))]
pub async fn list_workflows(
    person: Person,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<Workflow>>> {
    asked.page(workflows::list(&person, which).await?, identity)
}

/// Publishes a schema; kiosks offer it from their next sync on. Those of a facility that it did not reach, as the server
/// stopped or had no room, offer it once a device there is heard again.
#[utoipa::path(post, path = "/api/v1/workflows", operation_id = "publish_workflow", tag = "workflows", security(("session" = [])), request_body = PublishWorkflow, responses((status = 201, body = Workflow)))]
pub async fn publish_workflow(
    person: Person,
    Json(asked, _share): Json<PublishWorkflow>,
) -> Answer<(StatusCode, Tagged<Workflow>)> {
    Ok((StatusCode::CREATED, Tagged::of(workflows::publish(&person, asked).await?, identity)))
}

/// One workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_key}", operation_id = "show_workflow", tag = "workflows", security(("session" = [])), params(("workflow_key" = String, Path), OfVersion), responses((status = 200, body = Workflow)))]
pub async fn show_workflow(
    person: Person,
    Id(key): Id<String>,
    Params(of): Params<OfVersion>,
) -> Answer<Tagged<Workflow>> {
    Ok(Tagged::of(workflows::show(&person, &key, of.version).await?, identity))
}
