//! Workflow schemas. Every version that was ever published is kept.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::WorkflowId;
use carepost_protocol::record::{Collection, MAX_DOCUMENT_BYTES};
use carepost_protocol::text::fold;
use carepost_protocol::workflow::Workflow;

use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::column::json;
use crate::store::engine::params;
use crate::store::rules::superseded;

/// How many forms an organization has, those that are off too: each that is new is compared with all of them.
pub(in crate::store) const MAX_FORMS: usize = 1_000;

/// Id and body of the latest version of each workflow.
pub(in crate::store) const LATEST: &str = "SELECT id, body FROM workflows AS w
    WHERE version = (SELECT max(version) FROM workflows WHERE key = w.key) ORDER BY label, id";

/// Key and label, in its latest version, of the workflow whose key comes before that one: no earlier version is
/// walked.
pub(in crate::store) const BEFORE: &str =
    "SELECT key, label FROM workflows WHERE key < ?1 ORDER BY key DESC, version DESC LIMIT 1";

impl OrganizationStore {
    /// The latest version of each workflow, by label.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows(&self) -> Result<Vec<Workflow>> {
        self.read(|tx| {
            let latest = tx.all::<(WorkflowId, Workflow)>(LATEST, params![])?;
            Ok(latest.into_iter().map(|(_, workflow)| workflow).collect())
        })
        .await
    }

    /// A version of a workflow; none asks for the latest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn workflow(&self, key: &str, version: Option<u32>) -> Result<Workflow> {
        let key = key.to_owned();
        self.read(move |tx| {
            let found = match version {
                Some(version) => tx.first(
                    "SELECT body FROM workflows WHERE key = ?1 AND version = ?2",
                    params![key, version],
                )?,
                None => latest(tx, &key)?,
            };
            found.ok_or(StoreError::NotFound("workflow"))
        })
        .await
    }
}

impl AuditedWrite {
    /// Publishes a schema as the next version of its key, to every facility, some in each commit. The store chooses id
    /// and version, whatever the argument says; publishing what is published already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] in a scope that is limited to one facility: a schema is everybody's;
    /// [`StoreError::Invalid`] for a new key when there are as many as there may be; [`StoreError::Conflict`] for a label
    /// that another form has which is offered too; [`StoreError::Changed`], also where no version is there.
    pub async fn publish_workflow(self, workflow: Workflow) -> Result<Workflow> {
        self.publish(workflow, None).await
    }

    /// The same of one that was changed in that version, which has to be the latest: nothing is taken back that was
    /// published since.
    ///
    /// # Errors
    /// As [`Self::publish_workflow`]; [`StoreError::Outdated`].
    pub async fn publish_changed(self, workflow: Workflow, version: u32) -> Result<Workflow> {
        self.publish(workflow, Some(version)).await
    }

    async fn publish(self, workflow: Workflow, changed: Option<u32>) -> Result<Workflow> {
        if self.registry.scope.limit().is_some() {
            return Err(StoreError::NotFound("workflow"));
        }
        let (expected, registry) = (self.expected.clone(), self.registry.clone());
        let published = self.write(move |tx| {
            // Of what is not there, nobody was shown a version.
            expected.check(latest(tx, &workflow.key)?.as_ref().unwrap_or(&workflow))?;
            publish(tx, workflow, changed)
        });
        let published = published.await?;
        let key = published.key.clone();
        let undone =
            "not every facility has the form that was published: it comes when a device there is heard";
        registry.in_every_feed(undone, move |tx| superseded::bring(tx, &key)).await;
        Ok(published)
    }
}

impl Subject for Workflow {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.details.insert("key".to_owned(), self.key.as_str().into());
        event.details.insert("version".to_owned(), self.version.into());
    }
}

pub(super) fn latest(tx: &Tx<'_>, key: &str) -> Result<Option<Workflow>> {
    let sql = "SELECT body FROM workflows WHERE key = ?1 ORDER BY version DESC LIMIT 1";
    tx.first(sql, params![key])
}

/// Kiosks offer forms by their labels, and people tell a form's fields apart by theirs: no two that are offered read
/// the same, and there are not too many of them. Those that did before this was asked keep theirs.
fn be_told_apart(tx: &Tx<'_>, workflow: &Workflow, before: Option<&Workflow>) -> Result<()> {
    let had = before.map(Workflow::repeated_labels).unwrap_or_default();
    if let Some(label) = workflow.repeated_labels().difference(&had).next() {
        let detail = format!("two fields have the label “{label}”: give each one of its own");
        return Err(StoreError::Invalid { field: "fields", detail });
    }
    let label = fold(&workflow.label);
    let is_as_before = |before: &Workflow| before.enabled && fold(&before.label) == label;
    if before.is_some_and(|before| !workflow.enabled || is_as_before(before)) {
        return Ok(());
    }
    let (mut behind, mut others) = (char::MAX.to_string(), 0);
    while let Some((key, other)) = tx.first::<(String, String)>(BEFORE, params![behind])? {
        let is_alike = workflow.enabled && key != workflow.key && fold(&other) == label;
        if is_alike && latest(tx, &key)?.is_some_and(|other| other.enabled) {
            return Err(StoreError::Conflict("label"));
        }
        (behind, others) = (key, others + 1);
    }
    if before.is_none() && others >= MAX_FORMS {
        let detail = format!(
            "there are {MAX_FORMS} forms, the most of one organization: publish it under the key of one that is out \
             of use"
        );
        return Err(StoreError::Invalid { field: "key", detail });
    }
    Ok(())
}

fn publish(tx: &Tx<'_>, mut workflow: Workflow, changed: Option<u32>) -> Result<Workflow> {
    let before = latest(tx, &workflow.key)?;
    be_told_apart(tx, &workflow, before.as_ref())?;
    match &before {
        Some(before) => {
            workflow.id = before.id;
            workflow.version = before.version;
            if workflow == *before {
                return Ok(workflow);
            }
            if changed.is_some_and(|version| version != before.version) {
                return Err(StoreError::Outdated { latest: before.version });
            }
            workflow.version = before.version.saturating_add(1);
        }
        None => {
            workflow.id = WorkflowId::new(tx.now(), tx.random()?);
            workflow.version = 1;
        }
    }
    let body = json(&workflow)?;
    if body.len() > MAX_DOCUMENT_BYTES {
        return Err(StoreError::TooLarge { collection: Collection::Workflows, bytes: body.len() });
    }
    tx.execute(
        "INSERT INTO workflows (key, version, id, label, body, published_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![workflow.key, workflow.version, workflow.id, workflow.label, body, tx.now()],
    )?;
    Ok(workflow)
}
