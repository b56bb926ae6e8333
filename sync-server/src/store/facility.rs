//! One facility: its feed, what its devices push, its records.

use std::fmt::Write as _;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::PatientId;
use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::{Permit, ReadPatients, Resource};
use carepost_protocol::wire::heartbeat::Heartbeat;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use carepost_protocol::wire::push::PushReceipt;
use rusqlite::params;

use super::column::{count, count_at, json, json_at};
use super::engine::{Reach, Tx};
use super::push::{self, Batch};
use super::{DeviceIdentity, Page, Store, StoreError, audit};
use crate::scope::FacilityScope;

type Result<T> = std::result::Result<T, StoreError>;

/// About how many bytes a page holds at most; the document that reaches it is still in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Work within one facility.
#[derive(Debug, Clone)]
pub struct FacilityStore {
    pub(super) store: Store,
    pub(super) scope: FacilityScope,
}

impl FacilityStore {
    pub(super) fn new(store: Store, scope: FacilityScope) -> Self {
        Self { store, scope }
    }

    /// Takes a device's batch: all of it in one durable commit, with a verdict for each change. What the
    /// server has already is answered again as it was: applied as a duplicate, refused as refused.
    ///
    /// # Errors
    /// [`StoreError::ChainBroken`], [`StoreError::DeviceRevoked`].
    pub async fn push(&self, device: &DeviceIdentity, batch: Batch) -> Result<PushReceipt> {
        let receipt = self.store.write(Reach::Facility(self.scope), move |tx| push::apply(tx, batch)).await?;
        self.synced(device);
        Ok(receipt)
    }

    /// The next page of the feed after a cursor; none is the beginning. A page holds at most `limit`
    /// documents and about 4 MiB.
    ///
    /// # Errors
    /// [`StoreError::CursorRefused`].
    pub async fn page(&self, after: Option<Cursor>, limit: usize) -> Result<Page> {
        self.store.read(Reach::Facility(self.scope), move |tx| page(tx, after, limit)).await
    }

    /// Notes a heartbeat, in memory; it is written within about a second.
    pub fn heartbeat(&self, device: &DeviceIdentity, beat: &Heartbeat) {
        self.store.inner.presence.beat(self.scope, device.device(), beat, self.store.now());
    }

    /// Notes that a device's sync succeeded just now: a pull that reached the head, an accepted push, a
    /// live keep-alive. In memory, as [`Self::heartbeat`].
    pub fn synced(&self, device: &DeviceIdentity) {
        self.store.inner.presence.synced(self.scope, device.device(), self.store.now());
    }

    /// Notes that a device came with a cursor that was refused. In memory, as [`Self::heartbeat`].
    pub fn cursor_refused(&self, device: &DeviceIdentity) {
        self.store.inner.presence.cursor_refused(self.scope, device.device());
    }

    /// A patient's records, latest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the permit is for another facility.
    pub async fn records(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        limit: usize,
    ) -> Result<Vec<RecordDocument>> {
        if permit.resource() != Resource::Facility(self.scope.organization(), self.scope.facility()) {
            return Err(StoreError::NotFound("patient"));
        }
        self.store
            .read(Reach::Facility(self.scope), move |tx| {
                tx.all(
                    "SELECT body FROM documents WHERE patient_id = ?1 AND collection = 'records'
                        AND body IS NOT NULL ORDER BY seq DESC LIMIT ?2",
                    params![patient.as_bytes(), i64::try_from(limit).unwrap_or(i64::MAX)],
                    |row| json_at(row, 0),
                )
            })
            .await
    }

    /// Writes audit events, all under this facility.
    ///
    /// # Errors
    /// When they could not be made durable.
    pub async fn audit(&self, mut events: Vec<AuditEvent>) -> Result<()> {
        for event in &mut events {
            event.organization_id = Some(self.scope.organization());
            event.facility_id = Some(self.scope.facility());
        }
        self.store.write(Reach::Facility(self.scope), move |tx| audit::append(tx, &events)).await
    }
}

fn page(tx: &Tx<'_>, after: Option<Cursor>, limit: usize) -> Result<Page> {
    let feed = tx.first("SELECT epoch, seq FROM feeds", [], |row| {
        Ok(Cursor { epoch: count_at(row, 0)?, seq: count_at(row, 1)? })
    })?;
    let head = feed.ok_or(StoreError::NotFound("facility"))?;
    let after = after.unwrap_or(Cursor { epoch: head.epoch, seq: 0 });
    if after.epoch != head.epoch || after.seq > head.seq {
        return Err(StoreError::CursorRefused);
    }
    let mut lines = String::new();
    let (mut documents, mut last) = (0, after.seq);
    let mut statement =
        tx.prepare("SELECT collection, id, seq, body FROM documents WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![count(after.seq), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut full = limit == 0;
    while let Some(row) = rows.next()? {
        last = count_at(row, 2)?;
        write_line(&mut lines, row, last)?;
        documents += 1;
        if documents >= limit || lines.len() >= PAGE_BYTES {
            full = true;
            break;
        }
    }
    let seq = if full { last } else { head.seq };
    let end = PageEnd::new(Cursor { epoch: head.epoch, seq }, head.seq, tx.now());
    lines.push_str("{\"page\":");
    lines.push_str(&json(&end)?);
    lines.push_str("}\n");
    Ok(Page { lines: lines.into_bytes(), end })
}

/// A document's line, as [`carepost_protocol::wire::pull::Line`] writes it: the body goes as it is
/// stored, without being read.
fn write_line(lines: &mut String, row: &rusqlite::Row<'_>, seq: u64) -> Result<()> {
    let collection = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    let id = uuid::Uuid::from_bytes(row.get(1)?);
    let body = row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let written = match body {
        Some(body) => {
            writeln!(lines, r#"{{"collection":"{collection}","id":"{id}","seq":{seq},"body":{body}}}"#)
        }
        None => writeln!(lines, r#"{{"collection":"{collection}","id":"{id}","seq":{seq},"deleted":true}}"#),
    };
    written.map_err(|_| StoreError::Unreadable("documents"))
}
