//! Superseded versions of workflows: those whose place a later one took. An entry is read and corrected by the
//! version that it was charted in, so the feeds have them too, each as a document of its own beside the workflow's,
//! which is the latest. There they are not enabled: nobody begins an entry in them, and an agent that looks for no
//! such documents passes them over.

use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::id::WorkflowId;
use carepost_protocol::record::{Collection, MAX_DOCUMENT_BYTES};
use carepost_protocol::workflow::Workflow;

use super::feed_writer::FeedEnd;
use crate::store::StoreError;
use crate::store::column::json;
use crate::store::engine::{Tx, params};

/// How many of each workflow the feeds have: the latest, so that nobody fills a kiosk by publishing on and on. An agent
/// from before reads all of them with each of its pages.
pub(in crate::store) const KEPT: u32 = 10;
/// So many are brought, or taken out, in one transaction.
const PORTION: usize = 50;

/// The latest version of the workflow `w`.
macro_rules! latest_version {
    () => {
        "(SELECT max(version) FROM workflows WHERE key = w.key)"
    };
}
pub(in crate::store) use latest_version;

/// So many latest versions that are not in the feed of the facility whose scope this is.
const NOT_IN_FEED: &str = concat!(
    "SELECT id, body FROM workflows AS w WHERE version = ",
    latest_version!(),
    " AND NOT EXISTS (SELECT 1 FROM documents AS d
        WHERE d.collection = 'workflows' AND d.id = w.id AND d.body = w.body) LIMIT ?1"
);

/// Brings superseded versions into the feed of the facility whose scope this is, where they are not in it, and takes
/// out those that are too many; behind them the latest: a portion at a time. Whether there may be more.
pub(in crate::store) fn bring(tx: &Tx<'_>) -> Result<bool, StoreError> {
    let wanted = wanted(tx)?;
    let sql = "SELECT id FROM documents WHERE collection = 'workflows' AND id > ?1 AND body IS NOT NULL";
    let held: Vec<WorkflowId> = tx.all(sql, params![WorkflowId::LAST])?;
    let held: BTreeSet<WorkflowId> = held.into_iter().collect();
    let gone = held.iter().filter(|id| !wanted.contains_key(*id)).map(|id| (*id, None));
    let missing = wanted.iter().filter(|(id, _)| !held.contains(*id)).map(|(id, of)| (*id, Some(of)));
    let mut feed = FeedEnd::open(tx)?;
    let mut moved = 0;
    // Some are moved in each portion, however long it took to look for them.
    let is_enough = |moved: usize| moved >= PORTION || (moved > 0 && tx.is_spent());
    for (id, of) in gone.chain(missing) {
        if is_enough(moved) {
            break;
        }
        let body = match of {
            Some((key, version)) => {
                let sql = "SELECT body FROM workflows WHERE key = ?1 AND version = ?2";
                let form: Option<Workflow> = tx.first(sql, params![key, version])?;
                let Some(body) = form.map(body).transpose()?.flatten() else { continue };
                Some(body)
            }
            None => None,
        };
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, body.as_deref())?;
        moved += 1;
    }
    let left = if is_enough(moved) { 0 } else { PORTION - moved };
    for (id, body) in tx.all::<(WorkflowId, String)>(NOT_IN_FEED, params![left])? {
        if is_enough(moved) {
            break;
        }
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, Some(&body))?;
        moved += 1;
    }
    feed.close(tx)?;
    Ok(is_enough(moved))
}

/// One workflow as the feeds have it.
pub(in crate::store) struct Versions {
    /// Without a body is what they have no more.
    superseded: Vec<(WorkflowId, Option<String>)>,
    latest: (WorkflowId, String),
}

/// All that the feeds have of the workflow of that key, in the scope of its organization: read once for all feeds.
pub(in crate::store) fn versions(tx: &Tx<'_>, key: &str) -> Result<Option<Versions>, StoreError> {
    let sql = "SELECT version, id, body FROM workflows WHERE key = ?1 ORDER BY version DESC LIMIT 1";
    let Some((version, id, latest)) = tx.first::<(u32, WorkflowId, String)>(sql, params![key])? else {
        return Ok(None);
    };
    let sql = "SELECT body FROM workflows WHERE key = ?1 AND ?2 - version BETWEEN 1 AND ?3";
    let found = tx.all::<Workflow>(sql, params![key, version, KEPT + 1])?;
    let document = |form: Workflow| {
        let id = WorkflowId::of_version(&form.key, form.version);
        let is_kept = version - form.version <= KEPT;
        Ok((id, if is_kept { body(form)? } else { None }))
    };
    let superseded = found.into_iter().map(document).collect::<Result<_, StoreError>>()?;
    Ok(Some(Versions { superseded, latest: (id, latest) }))
}

/// Brings these into the feed of the facility whose scope this is, where they are not in it, or out of it.
pub(in crate::store) fn bring_these(tx: &Tx<'_>, versions: &Versions) -> Result<(), StoreError> {
    let held = "SELECT 1 FROM documents WHERE collection = 'workflows' AND id = ?1 AND body IS NOT NULL";
    let mut feed = FeedEnd::open(tx)?;
    for (id, body) in &versions.superseded {
        if tx.exists(held, params![id])? != body.is_some() {
            feed.put(tx, Collection::Workflows, id.as_bytes(), None, body.as_deref())?;
        }
    }
    // Behind what it superseded: a device that hears no more than half of this has that all the same.
    let held = "SELECT 1 FROM documents WHERE collection = 'workflows' AND id = ?1 AND body = ?2";
    let (id, body) = &versions.latest;
    if !tx.exists(held, params![id, body])? {
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, Some(body))?;
    }
    feed.close(tx)
}

/// A superseded version as a document.
fn body(form: Workflow) -> Result<Option<String>, StoreError> {
    let body = json(&Workflow { enabled: false, ..form })?;
    // One that just fitted, and does not with `false` in the place of `true`, must not hold up the next.
    Ok((body.len() <= MAX_DOCUMENT_BYTES).then_some(body))
}

/// Key and version of those that the feeds have, by the document's id.
fn wanted(tx: &Tx<'_>) -> Result<BTreeMap<WorkflowId, (String, u32)>, StoreError> {
    let sql = concat!(
        "SELECT key, version FROM workflows AS w WHERE ",
        latest_version!(),
        " - version BETWEEN 1 AND ?1"
    );
    let found = tx.all::<(String, u32)>(sql, params![KEPT])?;
    Ok(found
        .into_iter()
        .map(|(key, version)| (WorkflowId::of_version(&key, version), (key, version)))
        .collect())
}
