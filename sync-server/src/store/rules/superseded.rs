//! Superseded versions of workflows: those whose place a later one took. An entry is read and corrected by the
//! version that it was charted in, so the feeds have them too, each as a document of its own beside the workflow's,
//! which is the latest. There they are not enabled: nobody begins an entry in them, and an agent that looks for no
//! such documents passes them over.

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
/// How many workflows are looked after in one commit at most; fewer when it has had its time.
const AT_ONCE: usize = 50;

/// Brings the organization's workflows into the feed of the facility whose scope this is, a portion at a time: those
/// whose keys come behind that one. Gives the last key that it came to, while there may be more.
pub(in crate::store) fn bring_all(tx: &Tx<'_>, after: Option<String>) -> Result<Option<String>, StoreError> {
    let next = "SELECT key FROM workflows WHERE key > ?1 ORDER BY key LIMIT 1";
    let mut last = after.unwrap_or_default();
    for _ in 0..AT_ONCE {
        let Some(key) = tx.first::<String>(next, params![last])? else { return Ok(None) };
        bring(tx, &key)?;
        last = key;
        if tx.is_spent() {
            break;
        }
    }
    Ok(Some(last))
}

/// Brings the workflow of that key into the feed of the facility whose scope this is: its latest version, and what that
/// superseded, as far as they are not there; takes out what is too many.
pub(in crate::store) fn bring(tx: &Tx<'_>, key: &str) -> Result<(), StoreError> {
    let sql = "SELECT id, version FROM workflows WHERE key = ?1 ORDER BY version DESC LIMIT 1";
    let Some((id, latest)) = tx.first::<(WorkflowId, u32)>(sql, params![key])? else { return Ok(()) };
    let sql = "SELECT body FROM documents WHERE collection = 'workflows' AND id = ?1 AND body IS NOT NULL";
    let held = tx.first::<Workflow>(sql, params![id])?.map(|form| form.version);
    let is_held = "SELECT 1 FROM documents WHERE collection = 'workflows' AND id = ?1 AND body IS NOT NULL";
    let first = latest.saturating_sub(KEPT).max(1);
    // Beside the version that is there, a feed has none but the last before that.
    let too_many = held.map_or(0..0, |held| held.saturating_sub(KEPT)..held.min(first));
    let mut feed = FeedEnd::open(tx)?;
    for version in too_many {
        let id = WorkflowId::of_version(key, version);
        if tx.exists(is_held, params![id])? {
            feed.put(tx, Collection::Workflows, id.as_bytes(), None, None)?;
        }
    }
    for version in first..latest {
        let id = WorkflowId::of_version(key, version);
        if !tx.exists(is_held, params![id])? {
            bring_version(tx, &mut feed, id, (key, version, true))?;
        }
    }
    // Behind what it superseded: a device that hears no more than half of this has that all the same.
    if held != Some(latest) {
        bring_version(tx, &mut feed, id, (key, latest, false))?;
    }
    feed.close(tx)
}

/// Brings a version, superseded or the latest, as the document of that id. One that is larger than a document may be
/// stays out, so that it does not hold up the others: one from before that was asked, or one that just fitted and does
/// not with `false` in the place of `true`.
fn bring_version(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    id: WorkflowId,
    (key, version, is_superseded): (&str, u32, bool),
) -> Result<(), StoreError> {
    let sql = "SELECT body FROM workflows WHERE key = ?1 AND version = ?2";
    let body = if is_superseded {
        let form: Option<Workflow> = tx.first(sql, params![key, version])?;
        form.map(|form| json(&Workflow { enabled: false, ..form })).transpose()?
    } else {
        tx.first::<String>(sql, params![key, version])?
    };
    if let Some(body) = body.filter(|body| body.len() <= MAX_DOCUMENT_BYTES) {
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, Some(&body))?;
    }
    Ok(())
}
