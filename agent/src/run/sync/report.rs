//! Reports: what the tasks tell the sync, which alone knows the engine.

use std::time::Duration;

use carepost_agent_core::sync::{StreamId, SyncEvent};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use tokio::sync::oneshot;

use super::page::CheckedPage;
use super::push::Acknowledged;

/// See the module.
pub(in crate::run) enum Report {
    /// Something for the engine as it is.
    Sync(SyncEvent),
    /// A batch was acknowledged and settled.
    Pushed { acknowledged: Acknowledged, sent_at: Duration },
    /// A page came. The stream goes on when it is applied.
    Page { stream: StreamId, page: Box<CheckedPage>, applied: oneshot::Sender<()> },
    /// The page is in the mirror.
    Applied { cursor: Cursor, end: Box<PageEnd> },
    /// The stream was not opened, or has ended, because the server does not send the copy: why.
    CopyRefused { event: SyncEvent, why: String },
    /// A page was not applied: what is left of the disk is kept for what is charted.
    NoRoom,
    /// The server lives.
    KeepAlive { stream: StreamId, server_time: Timestamp },
    /// How many entries need a person, after some of them were settled.
    Rejected(u64),
    /// Another process wrote into the outbox.
    OutboxChanged,
}
