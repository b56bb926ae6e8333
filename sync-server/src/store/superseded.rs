//! Versions of workflows whose place a later one took. An entry is read and corrected by the version that it was
//! charted in, so the feeds have them too, each as a document of its own beside the workflow's, which is the latest.
//! There they are not enabled: nobody begins an entry in them, and an agent that looks for no such documents passes
//! them over.

use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::id::WorkflowId;
use carepost_protocol::record::{Collection, MAX_DOCUMENT_BYTES};
use carepost_protocol::workflow::Workflow;

use super::StoreError;
use super::column::{id_at, json, json_at};
use super::engine::{Tx, params};
use super::publish::FeedEnd;

/// How many of each workflow the feeds have: the latest, so that nobody fills a kiosk by publishing on and on.
pub(super) const KEPT: u32 = 50;

/// Brings the superseded versions into the feed of the facility whose scope this is, where they are not in it, and
/// takes out those that are too many.
pub(super) fn bring(tx: &Tx<'_>) -> Result<(), StoreError> {
    let wanted = wanted(tx)?;
    let sql = "SELECT id FROM documents WHERE collection = 'workflows' AND id > ?1 AND body IS NOT NULL";
    let held: Vec<WorkflowId> = tx.all(sql, [WorkflowId::LAST.as_bytes()], |row| id_at(row, 0))?;
    let held: BTreeSet<WorkflowId> = held.into_iter().collect();
    let mut feed = FeedEnd::open(tx)?;
    for id in held.iter().filter(|id| !wanted.contains_key(*id)) {
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, None)?;
    }
    for (id, (key, version)) in wanted.iter().filter(|(id, _)| !held.contains(*id)) {
        let sql = "SELECT body FROM workflows WHERE key = ?1 AND version = ?2";
        let form: Option<Workflow> = tx.first(sql, params![key, version], |row| json_at(row, 0))?;
        let Some(form) = form else { continue };
        let body = json(&Workflow { enabled: false, ..form })?;
        // One that just fitted, and does not with `false` in the place of `true`, must not hold up the next.
        if body.len() <= MAX_DOCUMENT_BYTES {
            feed.put(tx, Collection::Workflows, id.as_bytes(), None, Some(&body))?;
        }
    }
    feed.close(tx)
}

/// Key and version of those that the feeds have, by the document's id.
fn wanted(tx: &Tx<'_>) -> Result<BTreeMap<WorkflowId, (String, u32)>, StoreError> {
    let sql = "SELECT key, version FROM workflows AS w
        WHERE (SELECT max(version) FROM workflows WHERE key = w.key) - version BETWEEN 1 AND ?1";
    let found = tx.all(sql, [KEPT], |row| Ok((row.get::<String>(0)?, row.get::<u32>(1)?)))?;
    Ok(found
        .into_iter()
        .map(|(key, version)| (WorkflowId::of_version(&key, version), (key, version)))
        .collect())
}
