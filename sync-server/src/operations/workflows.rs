//! Workflow schemas: published by version, every version kept (S4-53, S4-54).

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::WorkflowId;
use carepost_protocol::role::Role;
use carepost_protocol::text::sort_key;
use carepost_protocol::workflow::{Field, Rule, Workflow, is_key};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::{Key, Page, Which};
use super::person::Person;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::store::{SortKeys, StoreError};

/// A schema to be published: a new workflow, or the next version of the one with that key.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PublishWorkflow {
    /// Left aside: what a list shows of a form can be published again as it is.
    #[schema(value_type = Option<String>)]
    pub id: Option<Value>,
    /// In which version it was changed, as lists show it: one that is not the latest is refused (409). The next one is
    /// counted here.
    pub version: Option<u32>,
    /// Its name in paths and records.
    pub key: String,
    /// What people call it.
    pub label: String,
    /// Whether kiosks offer it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What the form asks.
    pub fields: Vec<Field>,
    /// What holds between two of its numbers.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Which roles may correct another's entry; all that may chart unless given.
    #[serde(default)]
    pub corrected_by: Vec<Role>,
}
const fn yes() -> bool {
    true
}

/// What their list may be sorted by.
const SORTED_BY: &SortKeys<Key<Workflow>> =
    &[("label", |it| sort_key(&it.label)), ("key", |it| it.key.clone())];

/// The organization's workflows, each in its latest version, by pages.
pub async fn list(person: &Person, which: Which) -> Answer<Page<Workflow>> {
    which.of(person.registry()?.workflows().await?, |it| it.id.to_string(), SORTED_BY)
}

/// Publishes a schema; kiosks offer it from their next sync on. Those of a facility that it did not reach, as the server
/// stopped or had no room, offer it once a device there is heard again.
pub async fn publish(person: &Person, asked: PublishWorkflow) -> Answer<Workflow> {
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
    let event = person.event(AuditEventType::ApiAccess, AuditAction::Create, "workflow");
    let key = workflow.key.clone();
    let audited = person.audited(event)?;
    let published = match asked.version {
        Some(version) => audited.publish_changed(workflow, version).await,
        None => audited.publish_workflow(workflow).await,
    };
    match published {
        Ok(workflow) => Ok(workflow),
        // Its key is in the body, where whatever shows a thing by its path does not look.
        Err(StoreError::Changed(version)) => {
            let current = person.registry()?.workflow(&key, None).await.ok();
            let current = current.and_then(|workflow| serde_json::to_value(workflow).ok());
            Err(Refusal::from(StoreError::Changed(version)).showing(current, version))
        }
        Err(fault) => Err(fault.into()),
    }
}

/// One workflow: in that version, or the latest.
pub async fn show(person: &Person, key: &str, version: Option<u32>) -> Answer<Workflow> {
    if !is_key(key) {
        return Err(Refusal::not_found());
    }
    Ok(person.registry()?.workflow(key, version).await?)
}
